"""The page that says what of a script is understood is what the code does."""

import difflib

import script_features


def test_the_page_is_what_the_code_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some features write files
    written, found = script_features.PAGE.read_text(), script_features.page()
    difference = list(difflib.unified_diff(written.splitlines(), found.splitlines(), lineterm=""))
    assert not difference, "\n".join(difference)
