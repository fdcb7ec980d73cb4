"""The programs that sPyNNaker loads onto SpiNNaker's cores, executed by an ARM emulator.

A core's regions are filled as the host fills them (``sPyNNaker`` 7.4.1: `neuron_core`,
``neuron_params``, recording and synapse parameters), its own functions read them, and the functions of
a time step are called as its timer does. What surrounds them on a chip (event queue, DMA, packets,
allocation of memory, log) does not run.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Binary:
    """A program and where its functions are, in the one build that they were looked up in.

    An address is that of the function's first instruction, and odd if that is a Thumb instruction.
    """

    file: str
    sha256: str
    allocate: int
    log: int
    fail: int
    initialise_neurons: int = 0
    take_input: int = 0
    update: int = 0
    spiked: int = 0
    neuron_globals: int = 0
    initialise_synapses: int = 0
    process_row: int = 0
    synapse_globals: int = 0
    set_rate: int = 0
    source_globals: int = 0


NEURON_CORE = Binary(
    "IF_curr_exp_neuron.aplx",
    "f46d2c00996b5a79be546502b83b1c185683d26f46be76f0945e1a41ae714c43",
    allocate=0x4349,
    log=0x468D,
    fail=0x12C,
    initialise_neurons=0x173C,
    take_input=0x2510,
    update=0x1DF4,
    spiked=0x2650,
    neuron_globals=0x24FC,
)
SYNAPSE_CORE = Binary(
    "synapses.aplx",
    "0027705a19b74277c3faec6e7c3c9531e10831fd112dc94db7c48fb07121c4ef",
    allocate=0x3C45,
    log=0x3F89,
    fail=0x12C,
    initialise_synapses=0x680,
    process_row=0x9E4,
    synapse_globals=0xB30,
)
COMBINED_CORE = Binary(
    "IF_curr_exp.aplx",
    "acd257c9da6fa23c8995a080aeadd591182716cc0f8b6f2b26a1fbbdc15bc556",
    allocate=0x593D,
    log=0x5C81,
    fail=0x12C,
    initialise_neurons=0x1B54,
    take_input=0x2928,
    update=0x220C,
    spiked=0x396C,
    neuron_globals=0x2914,
    initialise_synapses=0x8A4,
    process_row=0xC08,
    synapse_globals=0xD54,
)

POISSON_CORE = Binary(
    "spike_source_poisson.aplx",
    "f2ee61b95408b01b6cc0f718d0aaed194b44395f633e8bf3c1af4e6fc7c593a8",
    allocate=0,
    log=0x4189,
    fail=0x12C,
    set_rate=0x894,
    source_globals=0xAB4,
)

INSTRUCTION_MEMORY, DATA_MEMORY, SHARED_MEMORY = 0, 0x400000, 0x60000000
STACK = DATA_MEMORY + 0x10000
HEAP = DATA_MEMORY + 0x2000
RETURN = 0x70000000
"""Nothing is there: where a called function returns to."""
COPY, FILL = 2, 3
"""Commands at the begin of a load image; others end it."""

TYPES = 2
"""Receptors of ``IF_curr_exp``."""


def require(binary: Binary) -> bytes:
    """The program's file; skips the test where it, or what executes it, is not installed."""
    pytest.importorskip("unicorn", reason="the ARM emulator (unicorn) is not installed")
    package = importlib.util.find_spec("spynnaker")
    if package is None or not package.submodule_search_locations:
        pytest.skip("sPyNNaker, whose wheel holds SpiNNaker's machine code, is not installed")
    folder = Path(next(iter(package.submodule_search_locations)))
    image = (folder / "pyNN" / "model_binaries" / binary.file).read_bytes()
    if hashlib.sha256(image).hexdigest() != binary.sha256:
        pytest.skip(f"{binary.file} is not that of sPyNNaker 7.4.1, whose functions are known")
    return image


class Core:
    """One core: call the methods in the order in which its program calls its functions."""

    def __init__(self, binary: Binary) -> None:
        image = require(binary)
        self._unicorn = unicorn = importlib.import_module("unicorn")
        self._registers = registers = importlib.import_module("unicorn.arm_const")
        self._binary = binary
        self._machine = machine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_ARM)
        # the ARM968 of SpiNNaker has the core of the ARM946
        machine.ctl_set_cpu_model(registers.UC_CPU_ARM_946)
        for begin, size in ((INSTRUCTION_MEMORY, 0x8000), (DATA_MEMORY, 0x10000)):
            machine.mem_map(begin, size)
        machine.mem_map(SHARED_MEMORY, 0x100000)
        machine.mem_map(RETURN, 0x1000)
        self._load(image)
        self._free_data, self._free_shared = HEAP, SHARED_MEMORY
        self._spikes: list[int] = []
        for address, action in (
            (binary.allocate, self._allocate),
            (binary.log, lambda: 0),
            (binary.fail, self._fail),
            (binary.spiked, self._note_spike),
        ):
            if address:
                self._replace(address & ~1, action)

    def _load(self, image: bytes) -> None:
        position = 0
        while True:
            command, address, offset, size = struct.unpack_from("<4I", image, position)
            if command == COPY:
                self._machine.mem_write(address, image[position + offset :][:size])
            elif command == FILL:
                self._machine.mem_write(address, bytes(offset))
            else:
                break
            position += 16

    # --- calling ---

    def _replace(self, address: int, action) -> None:
        """Let ``action`` stand for a function; it returns what the function would."""
        registers = self._registers

        def instead(machine, *_) -> None:
            machine.reg_write(registers.UC_ARM_REG_R0, action() & 0xFFFFFFFF)
            machine.reg_write(registers.UC_ARM_REG_PC, machine.reg_read(registers.UC_ARM_REG_LR))

        self._machine.hook_add(self._unicorn.UC_HOOK_CODE, instead, begin=address, end=address)

    def _argument(self, number: int) -> int:
        return self._machine.reg_read(self._registers.UC_ARM_REG_R0 + number)

    def _allocate(self) -> int:
        address = self._free_data
        self._free_data += (self._argument(0) + 7) & ~7
        assert self._free_data < STACK - 0x1000, "the core's memory is full"
        return address

    def _fail(self) -> int:
        raise AssertionError(f"{self._binary.file} stopped with an error")

    def _note_spike(self) -> int:
        self._spikes.append(self._argument(1))
        return 0

    def _call(self, address: int, *arguments: int) -> int:
        machine, registers = self._machine, self._registers
        for number, value in enumerate(arguments[:4]):
            machine.reg_write(registers.UC_ARM_REG_R0 + number, value)
        on_stack = struct.pack(f"<{len(arguments[4:])}I", *arguments[4:])
        stack = STACK - 64
        machine.mem_write(stack, on_stack)
        machine.reg_write(registers.UC_ARM_REG_SP, stack)
        machine.reg_write(registers.UC_ARM_REG_LR, RETURN)
        machine.emu_start(address, RETURN)
        return machine.reg_read(registers.UC_ARM_REG_R0)

    def _region(self, words: Iterable[int]) -> int:
        """Address of a region of shared memory with these 32-bit words."""
        values = np.array([int(word) & 0xFFFFFFFF for word in words], "<u4").tobytes()
        address = self._free_shared
        self._machine.mem_write(address, values)
        self._free_shared += len(values) + 16
        return address

    def _words(self, address: int, count: int, dtype: str = "<i4") -> NDArray[np.int64]:
        size = count * np.dtype(dtype).itemsize
        return np.frombuffer(self._machine.mem_read(address, size), dtype).astype(np.int64)

    def _pointer(self, address: int) -> int:
        return int(self._words(address, 1, "<u4")[0])

    # --- neurons ---

    def load_neurons(
        self,
        neurons: NDArray[np.int64],
        thresholds: NDArray[np.int64],
        synapses: NDArray[np.int64],
        substeps: int,
        shifts: Sequence[int],
    ) -> None:
        """Initialise the neurons from parameters in s16.15.

        Per neuron, one row each: (V, V_rest, cm, tau_m, I_offset, V_reset, tau_refrac, timer, time
        step), and (tau_syn_E, I_exc, tau_syn_I, I_inh, time step).
        """
        n = self._n = len(neurons)
        self._row = 1 << max(n - 1, 0).bit_length()
        core = self._region([0, n, self._row, 0, TYPES, *shifts, *([0] * n)])
        everything = [substeps, *neurons.ravel(), *thresholds, *synapses.ravel()]
        indices = np.arange(n + n % 2, dtype="<u2").view("<u4")
        recorded = [word for _ in range(3) for word in (0, n, 4, *indices)]
        recording = self._region([3, 1, *recorded, 0, n, *indices])
        regions = core, self._region(everything), self._region([0] * 5), recording
        succeeded = self._call(
            self._binary.initialise_neurons, *regions, self._region([0] * 4096), self._region([0])
        )
        assert succeeded, f"{self._binary.file} could not initialise its neurons"

    def take_input(self, cells: NDArray[np.int64] | int) -> None:
        """Move ring-buffer cells, shape (2, neurons), or those of a time step, to the currents."""
        if isinstance(cells, int):
            address = self._slot(cells)
        else:
            padded = np.zeros((TYPES, self._row), "<u2")
            padded[:, : self._n] = cells
            self._free_shared += 4
            address = self._free_shared
            self._machine.mem_write(address, padded.tobytes())
        self._call(self._binary.take_input, address)

    def update(self, time: int) -> list[int]:
        """One time step; the neurons that sent spikes, once for each."""
        self._spikes = []
        self._call(self._binary.update, time, 0)
        return self._spikes

    def state(self) -> tuple[NDArray[np.int64], ...]:
        """Voltages, timers, excitatory and inhibitory currents, shape (neurons,) each."""
        found = self._pointer(self._binary.neuron_globals)
        neurons = self._words(self._pointer(found + 0x50), 8 * self._n).reshape(-1, 8)
        synapses = self._words(self._pointer(found + 0x54), 6 * self._n).reshape(-1, 6)
        return neurons[:, 0], neurons[:, 5], synapses[:, 2], synapses[:, 5]

    def constants(self) -> dict[str, NDArray[np.int64]]:
        """What the core has computed from the parameters, shape (neurons,) each."""
        found = self._pointer(self._binary.neuron_globals)
        neurons = self._words(self._pointer(found + 0x50), 8 * self._n).reshape(-1, 8)
        synapses = self._words(self._pointer(found + 0x54), 6 * self._n, "<u4").reshape(-1, 6)
        return {
            "rest": neurons[:, 1],
            "resistance": neurons[:, 2],
            "decay": neurons[:, 3],
            "offset": neurons[:, 4],
            "reset": neurons[:, 6],
            "T_ref": neurons[:, 7],
            "decay_e": synapses[:, 0],
            "init_e": synapses[:, 1],
            "decay_i": synapses[:, 3],
            "init_i": synapses[:, 4],
        }

    # --- synapses ---

    def load_synapses(self, n_neurons: int, n_slots: int) -> None:
        """Make ring buffers with so many slots (a power of 2) for so many neurons."""
        self._bits = max(n_neurons - 1, 1).bit_length(), 1, n_slots.bit_length() - 1
        parameters = self._region([n_neurons, TYPES, *self._bits, 0, 256, 0, 0])
        returned = [self._region([0]) for _ in range(6)]
        succeeded = self._call(self._binary.initialise_synapses, parameters, *returned)
        assert succeeded, f"{self._binary.file} could not initialise its synapses"
        self._written = self._region([0])

    def row(
        self,
        targets: NDArray[np.int64],
        receptors: NDArray[np.int64],
        delays: NDArray[np.int64],
        weights: NDArray[np.int64],
    ) -> int:
        """Address of a source neuron's synapses onto this core; delays in steps, stored weights."""
        neuron, receptor, slot = self._bits
        delay = delays & ((1 << slot) - 1)
        words = weights << 16 | delay << (neuron + receptor) | receptors << neuron | targets
        return self._region([0, len(words), 0, *words])

    def process_row(self, time: int, row: int) -> None:
        """Deliver a spike that was received in the step ``time``."""
        assert self._call(self._binary.process_row, time, 0, 0, row, self._written)

    def _slot(self, time: int) -> int:
        neuron, receptor, slot = self._bits
        buffers = self._pointer(self._pointer(self._binary.synapse_globals) + 0x3C)
        return buffers + 2 * ((time & ((1 << slot) - 1)) << (neuron + receptor))

    def ring_buffer(self, time: int) -> NDArray[np.int64]:
        """The cells of a time step, shape (2, neurons); they are then emptied."""
        size = TYPES << self._bits[0]
        cells = self._words(self._slot(time), size, "<u2").reshape(TYPES, -1)
        self._machine.mem_write(self._slot(time), bytes(2 * size))
        return cells

    @property
    def saturations(self) -> int:
        """Additions that a cell could not hold."""
        return self._pointer(self._pointer(self._binary.synapse_globals) + 0x50)

    # --- Poisson sources ---

    def load_poisson(self, timestep: float) -> None:
        """One Poisson source, in steps of ``timestep`` ms."""
        found = self._pointer(self._binary.source_globals)
        self._source = self._region([0] * 8)
        seconds, per_second = round(timestep / 1000 * 2**32), round(1000 / timestep)
        parameters = {
            0x0C: seconds,
            # means per step from which a source is no longer slow, and no longer fast
            0x14: int(0.01 * 2**16),
            0x18: 10 * 2**16,
            0x40: per_second << 16,
            0x4C: self._source,
        }
        # the generator's state
        parameters |= {0x2C: 123456789, 0x30: 987654321, 0x34: 43219876, 0x38: 6543217}
        for offset, value in parameters.items():
            self._machine.mem_write(found + offset, struct.pack("<I", value))

    def set_rate(self, hertz: float) -> tuple[int, float, float]:
        """Steps between spikes, exp(-mean) or sqrt(mean), the others of which are 0."""
        self._call(self._binary.set_rate, 0, round(hertz * 2**16))
        source = self._words(self._source, 8, "<u4")
        return int(source[6]), source[4] / 2**32, source[5] / 2**16
