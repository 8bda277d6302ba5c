"""The rules of the house see what they forbid."""

from tests.tools import house


def test_a_house_out_of_order(tmp_path, monkeypatch):
    for package in (*house.PACKAGES, "tests"):
        (tmp_path / package).mkdir()
    monkeypatch.setattr(house, "ROOT", tmp_path)
    assert list(house.complaints()) == []
    synth = tmp_path / "synth"
    (synth / "a.py").write_text("def late():\n    from .b import x\n")
    (synth / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import late\n")
    assert list(house.complaints()) == []  # for a type checker alone
    (synth / "b.py").write_text("from . import a\nx = 1\n")
    (circle,) = house.complaints()
    assert "circle" in circle and "synth.a" in circle and "synth.b" in circle
    (synth / "b.py").write_text("x = 1\n" * (house.LINES + 1))
    assert [complaint.split()[0] for complaint in house.complaints()] == ["synth/b.py"]
    (synth / "b.py").write_text("x = 1\n")
    for i in range(house.MODULES):
        (tmp_path / "nets" / f"m{i}.py").touch()
    assert list(house.complaints()) == []
    (tmp_path / "nets" / "one_more.py").touch()
    assert [complaint.split()[0] for complaint in house.complaints()] == ["nets"]
