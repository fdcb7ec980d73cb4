"""Views, assemblies, single cells and positions, against what PyNN does with them."""

import itertools

import numpy as np
import pytest
import scipy.stats
from command_line import portability
from pyNN.core import IndexBasedExpression
from pyNN.random import NumpyRNG
from pyNN.space import Grid2D, RandomStructure, Space, Sphere
from test_capture import captured, fails

from pynn_portability.model import spatial
from pynn_portability.model.connectivity import Ends
from pynn_portability.model.parts import Part
from pynn_portability.model.scripts import capture
from pynn_portability.model.serialized import read_network, write_network
from pynn_portability.realize.realization import Realization, Synapses


def synapses(network, label, seed=1):
    return Synapses.concatenate(list(Realization(network, seed, 0.1).synapses(label)))


def cells(sim, size, label):
    population = sim.Population(size, sim.IF_curr_exp(), label=label)
    population.record("spikes")
    return population


def test_views_connect_their_own_cells_only():
    def build(sim):
        a, b = cells(sim, 100, "a"), cells(sim, 50, "b")
        synapse = sim.StaticSynapse(weight=0.1, delay=1.0)
        sim.Projection(a[:20], b[10:40:2], sim.FixedNumberPreConnector(4), synapse, label="few")
        sim.Projection(a[[3, 99]], b, sim.AllToAllConnector(), synapse, label="all")
        sim.Projection(a[20:30], b[:10], sim.OneToOneConnector(), synapse, label="one")

    network = captured(build)
    few = synapses(network, "few")
    assert set(few.source) <= set(range(20))
    assert np.bincount(few.target, minlength=50).tolist() == [
        4 if 10 <= i < 40 and i % 2 == 0 else 0 for i in range(50)
    ]
    every = synapses(network, "all")
    assert set(zip(every.source, every.target, strict=True)) == {
        (i, j) for i in (3, 99) for j in range(50)
    }
    one = synapses(network, "one")
    assert (one.source - 20 == one.target).all()
    assert len(one) == 10


def test_the_in_degree_law_of_a_part_is_that_of_its_draws():
    def build(sim):
        a, b, c = cells(sim, 30, "a"), cells(sim, 20, "b"), cells(sim, 40, "c")
        synapse = sim.StaticSynapse(weight=0.1, delay=1.0)
        sim.Projection(a + b, c[:30], sim.FixedNumberPreConnector(10), synapse, label="p")
        sim.Projection(a + b, c, sim.FixedTotalNumberConnector(300), synapse, label="q")

    network = captured(build)
    for projection in network.projections:
        assert isinstance(projection.connector, Part)
        law = projection.connector.indegrees(network.ends(projection))
        degrees = np.concatenate(
            [
                np.bincount(synapses(network, projection.label, seed).target, minlength=40)
                for seed in range(1, 201)
            ]
        )
        # 8,000 in-degrees: six standard errors are wrong once in a billion times
        assert abs(degrees.mean() - law.mean) < 6 * degrees.std() / np.sqrt(len(degrees))
        assert degrees.var() == pytest.approx(law.variance, rel=0.1)


def test_parts_of_an_assembly_fit_together():
    """A fixed number of sources is that of the assembly, whichever members they are from."""

    def build(sim):
        a, b, c = cells(sim, 30, "a"), cells(sim, 20, "b"), cells(sim, 40, "c")
        weights = np.arange(50 * 40).reshape(50, 40) * 1e-3
        synapse = sim.StaticSynapse(weight=weights, delay=1.0)
        sim.Projection(a + b, c, sim.FixedNumberPreConnector(10), synapse, label="p")
        sim.Projection(a + b, c, sim.FixedProbabilityConnector(0.5), synapse, label="q")
        pairs = [(0, 0, 0.1, 1.0), (35, 1, 0.2, 2.0), (29, 2, 0.3, 3.0)]
        sim.Projection(a + b, c, sim.FromListConnector(pairs), synapse, label="r")

    network = captured(build)
    first, second = synapses(network, "p (a->c)"), synapses(network, "p (b->c)")
    degrees = np.bincount(first.target, minlength=40) + np.bincount(second.target, minlength=40)
    assert (degrees == 10).all()
    assert len(first) > 0 < len(second)
    for label in ("p", "q"):
        for member, offset in (("a", 0), ("b", 30)):
            s = synapses(network, f"{label} ({member}->c)")
            assert s.weight == pytest.approx(((s.source + offset) * 40 + s.target) * 1e-3)
    listed = synapses(network, "r (b->c)")
    assert (listed.source[0], listed.target[0], listed.weight[0]) == (5, 1, 0.2)
    assert len(synapses(network, "r (a->c)")) == 2


def test_no_cell_is_connected_to_itself_where_views_overlap():
    def build(sim):
        a = cells(sim, 60, "a")
        connector = sim.FixedProbabilityConnector(0.5, allow_self_connections=False)
        sim.Projection(a[:40], a[20:], connector, sim.StaticSynapse(weight=0.1), label="p")
        all_of_them = sim.FixedNumberPreConnector(39, allow_self_connections=False)
        sim.Projection(a[:40], a[:40], all_of_them, sim.StaticSynapse(weight=0.1), label="q")

    network = captured(build)
    for label in ("p", "q"):
        s = synapses(network, label)
        assert len(s) > 0
        assert (s.source != s.target).all()


FIXED = {
    "pre": lambda sim, n, **more: sim.FixedNumberPreConnector(n, **more),
    "post": lambda sim, n, **more: sim.FixedNumberPostConnector(n, **more),
    "total": lambda sim, n, **more: sim.FixedTotalNumberConnector(n, **more),
}
"""Connectors with fixed numbers of synapses, by what is fixed."""


def apart(fixed, n, sources, targets, with_replacement):
    """A network of two groups of population "a" that share some cells, without self-connections."""

    def build(sim):
        a = cells(sim, max(*sources, *targets) + 1, "a")
        repeated = {"with_replacement": with_replacement, "allow_self_connections": False}
        connector = FIXED[fixed](sim, n, **repeated)
        synapse = sim.StaticSynapse(weight=0.1)
        sim.Projection(a[sources], a[targets], connector, synapse, label="p")

    return captured(build)


@pytest.mark.parametrize("with_replacement", [False, True])
@pytest.mark.parametrize("fixed", FIXED)
def test_what_is_drawn_between_groups_that_share_cells_is_uniform(fixed, with_replacement):
    """Every possible outcome of two draws is as likely as another: chi-square, a false alarm once in a million."""
    sources, targets, seeds = [0, 3, 1], [1, 2], range(1, 3001)
    pairs = [(i, j) for i in sources for j in targets if i != j]
    if fixed == "total":
        choices = [pairs]
    else:
        rows = targets if fixed == "pre" else sources
        choices = [[p for p in pairs if row == p[fixed == "pre"]] for row in rows]
    n = 2 if fixed != "post" or with_replacement else 1
    draw = itertools.product if with_replacement else itertools.combinations
    drawn = [draw(row, repeat=n) if with_replacement else draw(row, n) for row in choices]
    outcomes = [sum(rows, ()) for rows in itertools.product(*(list(row) for row in drawn))]
    counts = {outcome if with_replacement else frozenset(outcome): 0 for outcome in outcomes}
    network = apart(fixed, n, sources, targets, with_replacement)
    for seed in seeds:
        s = synapses(network, "p", seed)
        outcome = tuple(zip(s.source.tolist(), s.target.tolist(), strict=True))
        counts[outcome if with_replacement else frozenset(outcome)] += 1
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-6


@pytest.mark.parametrize("with_replacement", [False, True])
@pytest.mark.parametrize(("fixed", "n"), [("pre", 45), ("pre", 7), ("post", 45), ("total", 500)])
def test_numbers_laws_and_chunks_of_groups_that_share_cells(fixed, n, with_replacement, tmp_path):
    sources, targets = list(range(40)), list(range(70, 20, -1))
    network = apart(fixed, n, sources, targets, with_replacement)
    s = synapses(network, "p")
    assert (s.source != s.target).all()
    assert set(s.source) <= set(sources)
    assert set(s.target) <= set(targets)
    for cell, degrees in (("pre", s.target), ("post", s.source)):
        group = targets if cell == "pre" else sources
        if fixed == cell:
            assert (np.bincount(degrees, minlength=71)[group] == n).all()
    assert fixed != "total" or len(s) == n
    if not with_replacement:
        # a cell is chosen another time only after every other one was
        times = np.zeros((71, 71), int)
        np.add.at(times, (s.source, s.target), 1)
        assert times.max() <= (2 if n == 45 else 1)
    write_network(tmp_path / "network.npz", network)
    again = Realization(read_network(tmp_path / "network.npz"), 1, 0.1)
    for chunk in (1, 37):
        parts = Synapses.concatenate(list(again.synapses("p", chunk_size=chunk)))
        assert (parts.source == s.source).all()
        assert (parts.target == s.target).all()
    (projection,) = network.projections
    law = projection.connector.indegrees(network.ends(projection))
    degrees = np.concatenate(
        [np.bincount(synapses(network, "p", seed).target, minlength=71) for seed in range(1, 101)]
    )
    assert degrees.mean() == pytest.approx(law.mean, rel=0.03)
    assert degrees.var() == pytest.approx(law.variance, rel=0.1)


def test_assemblies_that_share_cells_have_their_numbers_as_one():
    def build(sim):
        a, b = cells(sim, 30, "a"), cells(sim, 20, "b")
        connector = sim.FixedNumberPreConnector(10, allow_self_connections=False)
        synapse = sim.StaticSynapse(weight=0.1)
        p = sim.Projection(b + a[:20], a[10:] + b, connector, synapse, label="p")
        assert p.size() == 400

    network = captured(build)
    degrees = np.zeros(50, int)
    for source, target in (("b", "a"), ("a", "a"), ("b", "b"), ("a", "b")):
        s = synapses(network, f"p ({source}->{target})")
        assert source != target or (s.source != s.target).all()
        degrees += np.bincount(s.target + 30 * (target == "b"), minlength=50)
    assert degrees.tolist() == [0] * 10 + [10] * 40


def test_numbers_that_there_are_not_between_groups_that_share_cells():
    def connected(connector, sources, targets):
        def build(sim):
            a = cells(sim, 5, "a")
            sim.Projection(a[sources], a[targets], connector(sim), sim.StaticSynapse(weight=0.1))

        return fails(build)

    apart = {"allow_self_connections": False}
    one = connected(lambda sim: sim.FixedNumberPreConnector(1, **apart), [2], [1, 2])
    assert "no cell to choose" in one
    more = {"with_replacement": False, **apart}
    total = connected(lambda sim: sim.FixedTotalNumberConnector(6, **more), [0, 1], [1, 2, 3])
    assert "only 5" in total
    twice = connected(lambda sim: sim.FixedNumberPostConnector(1, **apart), [0, 0], [0, 1])
    assert "holds a cell twice" in twice


def test_parameters_of_views_and_cells_are_those_of_the_population():
    def build(sim):
        a = cells(sim, 10, "a")
        a[5:].set(tau_m=10.0)
        a[[0, 9]].set(i_offset=[0.1, 0.2])
        a[3].i_offset = 0.5
        for number, cell in enumerate(a):
            cell.initialize(v=-65.0 - number)
        assert a[3].i_offset == 0.5
        assert a[5:].get("tau_m") == 10.0
        assert a.id_to_index(a[7]) == 7
        assert [int(c) - int(a.all_cells[0]) for c in a] == list(range(10))
        b = cells(sim, 2, "b")
        both = a + b
        both.initialize(v=-60.0)
        both[9:11].set(cm=0.5)
        assert both.size == 12

    network = captured(build)
    a, b = network.population("a"), network.population("b")
    assert a.parameters["tau_m"].tolist() == [20.0] * 5 + [10.0] * 5
    assert a.parameters["i_offset"].tolist() == [0.1, 0, 0, 0.5, 0, 0, 0, 0, 0, 0.2]
    assert a.initial_values["v"] == -60.0
    assert a.parameters["cm"].tolist() == [1.0] * 9 + [0.5]
    assert b.parameters["cm"].tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda a: a[20], "out of range"),
        (lambda a: a[[3, 10]], "reaches out"),
        (lambda a: a[np.zeros(3, bool)], "reaches out"),
        (lambda a: a[3:3], "has no cells"),
        (lambda a: a["x"], "a slice"),
        (lambda a: a.sample(11), "sample(11)"),
        (lambda a: a[:3].set(nonsense=1.0), "no such parameter"),
    ],
)
def test_parts_that_there_are_not(use, words):
    assert words in fails(lambda sim: use(cells(sim, 10, "a")))


def test_drawn_values_of_some_cells_are_the_same_for_every_seed():
    def build(sim):
        a = cells(sim, 10, "a")
        uniform = sim.RandomDistribution("uniform", (-65.0, -50.0))
        a.initialize(v=uniform)
        a[:5].initialize(v=-60.0)
        a[5:].set(tau_m=sim.RandomDistribution("uniform", (5.0, 6.0)))

    network = captured(build)
    (a,) = network.populations
    v, tau_m = a.initial_values["v"], a.parameters["tau_m"]
    assert (v[:5] == -60.0).all()
    assert ((v[5:] > -65.0) & (v[5:] < -50.0)).all()
    assert len(np.unique(v)) == 6
    assert (tau_m[:5] == 20.0).all()
    assert ((tau_m[5:] > 5.0) & (tau_m[5:] < 6.0)).all()
    assert network.fingerprint() == captured(build).fingerprint()
    (note,) = network.notes
    assert note.startswith("the same for every seed, as the script draws it: 'a': ")
    assert "initial v of some cells" in note


def test_connections_one_way_only():
    """PyNN's rule: only a cell of a higher index is connected to one of a lower."""

    def build(sim):
        a = cells(sim, 60, "a")
        synapse = sim.StaticSynapse(weight=0.1)
        one_way = {"allow_self_connections": "NoMutual"}
        sim.Projection(a, a, sim.FixedProbabilityConnector(0.5, **one_way), synapse, label="half")
        near = sim.DistanceDependentProbabilityConnector("d < 3", **one_way)
        sim.Projection(a, a, near, synapse, label="near")

    network = captured(build)
    half, near = synapses(network, "half"), synapses(network, "near")
    assert (half.source > half.target).all()
    # binomial of 1,770 pairs: six standard deviations
    assert abs(len(half) - 885) < 6 * np.sqrt(1770 / 4)
    assert set((near.source - near.target).tolist()) == {1, 2}
    assert len(near) == 59 + 58

    def between(sim):
        a, b = cells(sim, 5, "a"), cells(sim, 5, "b")
        one_way = sim.FixedProbabilityConnector(0.5, allow_self_connections="NoMutual")
        sim.Projection(a, b, one_way, sim.StaticSynapse(weight=0.1))

    assert "between different cells" in fails(between)


def test_recorded_parts_are_compared_under_their_own_labels(tmp_path):
    (tmp_path / "model.py").write_text(
        "def build(sim):\n"
        "    a = sim.Population(20, sim.IF_curr_exp(i_offset=0.5), label='a')\n"
        "    a[:5].set(i_offset=2.0)\n"
        "    a[:5].record('spikes')\n"
        "    a[10:].record('spikes')\n"
    )
    study = tmp_path / "study.toml"
    study.write_text(
        '[study]\nname = "s"\n[model]\nbuild = "model.py:build"\n'
        "[simulation]\nduration = 200.0\nwarmup = 0.0\nseeds = [1, 2, 3]\n"
        '[reference]\nbackend = "emulator"\n'
    )
    done = portability(tmp_path, "run", "study.toml", "--out", "out")
    assert done.returncode == 0, done.stderr
    from pynn_portability import Study  # noqa: PLC0415

    results = Study.load(study).judge(tmp_path / "out", progress=False)
    compared = {p.label: p.size for p in results.content.populations if p.recorded}
    assert compared == {"view of a with size 5": 5, "view of a with size 10": 10}
    trains = results.spikes("emulator", "double", 1).segments[0].spiketrains
    spikes = [len(train) for train in trains]
    assert len(spikes) == 15
    assert min(spikes[:5]) > 0 == max(spikes[5:])


def test_samples_are_drawn_once_and_this_is_said():
    def build(sim):
        cells(sim, 100, "a").sample(10, rng=NumpyRNG(seed=5)).record("spikes")
        b = sim.Population(100, sim.IF_curr_exp(), label="b")
        b.sample(10).record("spikes")

    network = captured(build)
    assert network.fingerprint() == captured(build).fingerprint()
    assert "the same for every seed" in network.notes[0]
    assert [len(r.cells) for r in network.recordings] == [10]


def test_connections_by_distance_have_the_probabilities_that_they_say():
    def build(sim):
        sheet = sim.Population((8, 8), sim.IF_curr_exp(), label="sheet")
        sheet.record("spikes")
        near = sim.DistanceDependentProbabilityConnector(
            "exp(-d/2.0)", allow_self_connections=False
        )
        synapse = sim.StaticSynapse(weight=lambda d: 0.2 / (1.0 + d), delay="0.5 + d")
        sim.Projection(sheet, sheet, near, synapse, label="p")

    network = captured(build)
    x, y = Grid2D(1.0).generate_positions(64)[:2]
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    expected = np.exp(-distance / 2.0)
    np.fill_diagonal(expected, 0.0)
    counts = np.zeros((64, 64))
    for seed in range(1, 101):
        s = synapses(network, "p", seed)
        counts[s.source, s.target] += 1
        assert s.weight == pytest.approx(0.2 / (1.0 + distance[s.source, s.target]))
        rounded = np.floor((0.5 + distance[s.source, s.target]) / 0.1 + 0.5 + 1e-9)
        assert (s.delay == rounded).all()
    # 4,096 binomial numbers of 100 draws: six standard deviations are exceeded once in 10^5 tests
    spread = np.sqrt(100 * expected * (1 - expected))
    assert (np.abs(counts - 100 * expected) <= 6 * spread + 1).all()
    law = network.projections[0].connector.indegrees(network.ends(network.projections[0]))
    assert law.mean == pytest.approx(expected.sum() / 64)


def test_positions_and_spaces():
    def build(sim):
        ball = RandomStructure(Sphere(radius=10.0))
        a = sim.Population(20, sim.IF_curr_exp(), structure=ball, label="a")
        b = sim.Population(20, sim.IF_curr_exp(), label="b")
        a.record("spikes")
        assert (np.linalg.norm(a.positions, axis=0) <= 10.0).all()
        assert b.positions[0].tolist() == list(range(20))
        ring = Space(axes="x", periodic_boundaries=((0, 20), None, None))
        near = sim.DistanceDependentProbabilityConnector("d < 1.5")
        sim.Projection(b, b, near, sim.StaticSynapse(weight=0.1), space=ring, label="ring")
        every = sim.AllToAllConnector()
        sim.Projection(a, b, every, sim.StaticSynapse(weight="d"), label="by distance")

    network = captured(build)
    assert network.fingerprint() == captured(build).fingerprint()
    assert any("positions in 'a'" in note for note in network.notes)
    ring = synapses(network, "ring")
    assert np.bincount(ring.source).tolist() == [3] * 20
    assert set(ring.target[ring.source == 0]) == {0, 1, 19}


def test_arrays_of_connections_and_bad_ones():
    def build(sim):
        a, b = cells(sim, 3, "a"), cells(sim, 2, "b")
        chosen = np.array([[True, False], [False, True], [True, True]])
        for label, array in (("p", chosen), ("q", chosen.astype(float))):
            connector = sim.ArrayConnector(array)
            sim.Projection(a, b, connector, sim.StaticSynapse(weight=0.1), label=label)

    network = captured(build)
    for label in ("p", "q"):
        s = synapses(network, label)
        assert list(zip(s.source, s.target, strict=True)) == [(0, 0), (1, 1), (2, 0), (2, 1)]

    def weights(sim):
        a = cells(sim, 3, "a")
        sim.Projection(a, a, sim.ArrayConnector(np.full((3, 3), 0.5)))

    def wrong(sim):
        a = cells(sim, 3, "a")
        sim.Projection(a, a, sim.ArrayConnector(np.ones((2, 2), bool)))

    def broken(sim):
        a = cells(sim, 3, "a")
        near = sim.DistanceDependentProbabilityConnector("d < 1.5")
        sim.Projection(a, a, near, sim.StaticSynapse(weight=lambda d: [1, 2, 3, 4, 5][d]))

    assert "shape (3, 3)" in fails(wrong)
    assert "other values than 0 and 1" in fails(weights)
    assert "cannot be evaluated" in fails(broken)


@pytest.mark.parametrize("self_connections", [True, False, "NoMutual"])
def test_what_is_evaluated_piece_by_piece_is_the_same(self_connections, monkeypatch, tmp_path):
    def build(sim):
        sheet = sim.Population((12, 10), sim.IF_curr_exp(), label="sheet")
        sheet.record("spikes")
        near = sim.DistanceDependentProbabilityConnector(
            "0.9*(d < 3)*exp(-d)", allow_self_connections=self_connections
        )
        synapse = sim.StaticSynapse(weight=lambda d: 0.2 / (1.0 + d), delay="0.5 + d")
        sim.Projection(sheet, sheet, near, synapse, label="p")
        # given, not evaluated
        weights = np.arange(120 * 120).reshape(120, 120)
        sim.Projection(sheet, sheet, near, sim.StaticSynapse(weight=weights), label="q")
        part = sheet[np.arange(119, 50, -1)]
        sim.Projection(part, part, near, synapse, label="part")
        listed = [(int(i), int(i + 1)) for i in range(100, 0, -3)]
        sim.Projection(sheet, sheet, sim.FromListConnector(listed), synapse, label="list")

    whole = captured(build)
    monkeypatch.setattr(spatial, "MOST_PAIRS", 1000)
    monkeypatch.setattr(spatial, "AT_ONCE", 500)
    pieces = captured(build)
    assert isinstance(pieces.projection("p").connector, spatial.LikelyPairs)
    write_network(tmp_path / "network.npz", pieces)
    again = read_network(tmp_path / "network.npz")
    assert again.fingerprint() == pieces.fingerprint()
    for label in ("p", "q", "part", "list"):
        expected, found = synapses(whole, label, seed=3), synapses(again, label, seed=3)
        assert len(expected) > 0
        for name in ("source", "target", "weight", "delay"):
            assert getattr(found, name).tolist() == getattr(expected, name).tolist()
        laws = [
            n.projection(label).connector.indegrees(Ends(120, 120, True)) for n in (whole, again)
        ]
        assert laws[0] == pytest.approx(laws[1])


def test_a_large_sheet_is_connected_to_its_neighbours():
    """100,000,000 pairs, of which some hundred thousand may be connected."""

    def build(sim):
        a = cells(sim, 10_000, "a")
        near = sim.DistanceDependentProbabilityConnector("d < 10.5", allow_self_connections=False)
        synapse = sim.StaticSynapse(weight="0.1*d", delay=1.0)
        sim.Projection(a, a, near, synapse, label="p")

    s = synapses(captured(build), "p")
    assert len(s) == 2 * sum(10_000 - k for k in range(1, 11))
    assert s.weight == pytest.approx(0.1 * np.abs(s.source - s.target))


def test_pairs_that_are_too_many(monkeypatch):
    monkeypatch.setattr(spatial, "MOST_PAIRS", 1000)
    monkeypatch.setattr(spatial, "MOST_LIKELY", 1000)

    def connected(probability, weight=0.1, members=False, clone=False):
        def build(sim):
            a = cells(sim, 100, "a")
            group = a[:50] + cells(sim, 50, "b") if members else a
            connector = sim.DistanceDependentProbabilityConnector(probability)
            if weight != 0.1:
                connector = sim.FixedProbabilityConnector(0.1)
            synapse = sim.StaticSynapse(weight=weight)
            p = sim.Projection(group, a, connector, synapse)
            if clone:
                sim.Projection(a, a, sim.CloneConnector(p), synapse)

        return fails(build)

    assert "at most 1,000 of them may be connected" in connected("exp(-d)")
    assert "connect their members" in connected("d < 2", members=True)
    assert "connect smaller populations" in connected("d < 2", weight="d")
    assert "CloneConnector" in connected("d < 2", clone=True)


def test_networks_with_parts_are_kept_in_files(tmp_path):
    def build(sim):
        a = cells(sim, 30, "a")
        b = sim.Population(20, sim.IF_curr_exp(), label="b")
        b[:7].record("spikes")
        sim.Projection(a[3:], b + a, sim.FixedNumberPostConnector(4), sim.StaticSynapse(weight=0.1))
        near = sim.DistanceDependentProbabilityConnector("d < 3.5")
        sim.Projection(a, b, near, sim.StaticSynapse(weight=0.1))

    network = captured(build)
    file = tmp_path / "network.npz"
    write_network(file, network)
    again = read_network(file)
    assert again.fingerprint() == network.fingerprint()
    for projection in network.projections:
        before, after = (synapses(n, projection.label) for n in (network, again))
        assert (before.source == after.source).all()
        assert (before.target == after.target).all()


def test_a_view_changes_the_fingerprint_only_of_what_it_is():
    def whole(sim):
        a = cells(sim, 30, "a")
        sim.Projection(a, a, sim.FixedProbabilityConnector(0.1), sim.StaticSynapse(weight=0.1))

    def view_of_all(sim):
        a = cells(sim, 30, "a")
        connector = sim.FixedProbabilityConnector(0.1)
        sim.Projection(a[:], a[:], connector, sim.StaticSynapse(weight=0.1), label="a->a")

    assert captured(whole).fingerprint() == captured(view_of_all).fingerprint()


def test_lists_from_files_and_clones(tmp_path):
    file = tmp_path / "pairs.txt"
    file.write_text('# columns = ["i", "j", "weight", "delay"]\n0 1 0.5 1.0\n2 0 0.25 2.0\n')

    def build(sim):
        a, b = cells(sim, 30, "a"), cells(sim, 20, "b")
        synapse = sim.StaticSynapse(weight=0.1)
        sim.Projection(a, b, sim.FromFileConnector(str(file)), synapse, label="file")
        some = sim.FixedProbabilityConnector(0.3)
        first = sim.Projection(a[5:], b, some, synapse, label="first")
        other = sim.StaticSynapse(weight=0.7)
        sim.Projection(a[5:], b, sim.CloneConnector(first), other, label="second")

    network = captured(build)
    assert network.fingerprint() == captured(build).fingerprint()
    listed = synapses(network, "file")
    assert list(zip(listed.source, listed.target, listed.weight, listed.delay, strict=True)) == [
        (0, 1, 0.5, 10),
        (2, 0, 0.25, 20),
    ]
    first, second = synapses(network, "first"), synapses(network, "second")
    assert len(first) > 0
    assert (first.source == second.source).all()
    assert (first.target == second.target).all()
    assert set(second.weight) == {0.7}

    def missing(sim):
        a = cells(sim, 3, "a")
        sim.Projection(a, a, sim.FromFileConnector("/nowhere/pairs.txt"), sim.StaticSynapse())

    def other_cells(sim):
        a, b = cells(sim, 3, "a"), cells(sim, 3, "b")
        first = sim.Projection(a, b, sim.AllToAllConnector())
        sim.Projection(b, a, sim.CloneConnector(first))

    assert "pairs.txt" in fails(missing)
    assert "between the same cells" in fails(other_cells)


def test_connection_sets():
    csa = pytest.importorskip("csa")  # comes with sPyNNaker

    def build(sim):
        a, b = cells(sim, 30, "a"), cells(sim, 20, "b")
        synapse = sim.StaticSynapse(weight=0.1)
        sim.Projection(a, b, sim.CSAConnector(csa.oneToOne), synapse, label="set")
        sim.Projection(a, b, sim.CSAConnector(csa.random(0.2)), synapse, label="random set")

    network = captured(build)
    assert network.fingerprint() == captured(build).fingerprint()
    diagonal = synapses(network, "set")
    assert (diagonal.source == diagonal.target).all()
    assert len(diagonal) == 20
    # 600 pairs at 0.2: six standard deviations are 59
    assert abs(len(synapses(network, "random set")) - 120) < 59


def test_what_is_read_before_a_run_is_what_the_first_seed_draws():
    read = {}

    def build(sim):
        a, b, c = cells(sim, 30, "a"), cells(sim, 20, "b"), cells(sim, 10, "c")
        a.set(cm=sim.RandomDistribution("uniform", (0.5, 1.5)))
        weight = sim.RandomDistribution("uniform", (0.1, 0.2))
        some = sim.FixedProbabilityConnector(0.3)
        synapse = sim.StaticSynapse(weight=weight, delay=1.5)
        p = sim.Projection(a[10:] + c, b, some, synapse, label="p")
        read["size"], read["list"] = len(p), p.get(["weight", "delay"], format="list")
        read["array"], read["cm"] = p.get("weight", format="array"), a.get("cm")
        twice = sim.FixedNumberPreConnector(3, with_replacement=True)
        q = sim.Projection(c[:1], b, twice, sim.StaticSynapse(weight=1.0), label="q")
        read["sum"] = q.get("weight", format="array")

    network = capture(build, {}, 0.1, lambda network, timestep: Realization(network, 7, timestep))
    expected = {}
    for label, offset in (("p (a->b)", -10), ("p (c->b)", 20)):
        s = synapses(network, label, seed=7)
        expected |= zip(zip(s.source + offset, s.target, strict=True), s.weight, strict=True)
    assert read["size"] == len(expected)
    assert {(i, j): w for i, j, w, _ in read["list"]} == expected
    assert {delay for *_, delay in read["list"]} == {1.5}
    assert np.count_nonzero(~np.isnan(read["array"])) == len(expected)
    assert all(read["array"][pair] == w for pair, w in expected.items())
    assert (read["cm"] == Realization(network, 7, 0.1).parameter("a", "cm")).all()
    assert (read["sum"] == 3.0).all()
    assert any("first seed" in note for note in network.notes)
    assert "drawn for each seed" in fails(build)


def test_projections_that_would_have_one_label_are_refused():
    def build(sim):
        a, b = cells(sim, 3, "a"), cells(sim, 3, "b")
        every, synapse = sim.AllToAllConnector(), sim.StaticSynapse(weight=0.1)
        sim.Projection(a, a, every, synapse, label="p (a->b)")
        sim.Projection(a, a + b, every, synapse, label="p")

    assert "'p (a->b)'" in fails(build)


def test_a_clone_of_what_leaves_pairs_out_is_refused():
    def build(sim):
        a = cells(sim, 30, "a")
        every = sim.AllToAllConnector(allow_self_connections=False)
        first = sim.Projection(a[:20], a[10:], every)
        sim.Projection(a[:20], a[10:], sim.CloneConnector(first))

    assert "CloneConnector" in fails(build)


def test_probabilities_of_indices_and_displacements():
    class Next(IndexBasedExpression):
        def __call__(self, i, j):
            return 1.0 * (j == i + 1)

    def build(sim):
        a = cells(sim, 10, "a")
        synapse = sim.StaticSynapse(weight=0.1)
        sim.Projection(a, a, sim.IndexBasedProbabilityConnector(Next()), synapse, label="next")
        back = sim.DisplacementDependentProbabilityConnector(lambda d: d[0] == -2.0)
        sim.Projection(a, a, back, synapse, label="back")

    network = captured(build)
    following, back = synapses(network, "next"), synapses(network, "back")
    assert (following.source + 1 == following.target).all()
    assert len(following) == 9
    assert (back.source - 2 == back.target).all()
    assert len(back) == 8
