"""Arms, metrics and worlds of other packages: found by name, refused with one line where they are no use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from unicrs_rl.cli import main
from unicrs_rl.dialogue import Dialogue
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.worlds import make_world, worlds
from unicrs_rl.judging.metrics import METRIC_BY_NAME, METRICS, measure
from unicrs_rl.policy.arms import arms, learns, policy_class
from unicrs_rl.policy.rules import MaxEntropy
from unicrs_rl.registry import plug_ins

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "unicrs-rl-example"
Install = Callable[..., None]


def install(site: Path, name: str, entry_points: str, modules: dict[str, str]) -> None:
    """Put a package and what an installer notes of it into a folder."""
    for file, source in modules.items():
        (site / file).write_text(source)
    info = site / f"{name.replace('-', '_')}-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs packages for this test, which the registries then look for anew."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    for registry in (arms, METRIC_BY_NAME, worlds):
        monkeypatch.setattr(registry, "_outside", None)

    def put(name: str, entry_points: str, **modules: str) -> None:
        install(site, name, entry_points, {f"{module}.py": source for module, source in modules.items()})

    return put


@pytest.fixture(autouse=True)
def _forget() -> object:
    """What a test imported from its own packages is gone afterwards."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("plug_"):
            del sys.modules[name]


ARM = "from unicrs_rl.policy.rules import MaxEntropy\nclass Curious(MaxEntropy):\n    pass\n"
METRIC = """
from unicrs_rl.judging.metrics import Metric
LISTS = Metric("lists", "Lists", False, "lists shown", "lists", lambda found: float(len(found.lists)))
"""


def test_an_arm_and_a_metric_of_another_package_are_found(installed: Install) -> None:
    points = "[unicrs_rl.arms]\ncurious = plug_a:Curious\n[unicrs_rl.metrics]\nlists = plug_b:LISTS\n"
    installed("plug-fine", points, plug_a=ARM, plug_b=METRIC)
    assert "plug_a" not in sys.modules  # nothing is imported before it is asked for
    assert "curious" in arms
    assert [plug.package for plug in plug_ins("arm")] == ["plug-fine 2.1"]
    assert issubclass(policy_class("curious"), MaxEntropy)
    assert not learns("curious@variant")
    assert METRICS[-1].name == "lists"
    assert len(METRICS) == len(METRIC_BY_NAME)
    with pytest.raises(InputError, match="unknown arm 'curius'; did you mean curious"):
        policy_class("curius")


@pytest.mark.parametrize(
    ("points", "module", "says"),
    [
        (
            "[unicrs_rl.arms]\nx = plug_x:X",
            "import no_such_module",
            "arm 'x' of package plug-bad 2.1: plug_x:X",
        ),
        (
            "[unicrs_rl.arms]\nx = plug_x:X",
            "1 / 0",
            "cannot be imported (ZeroDivisionError: division by zero)",
        ),
        (
            "[unicrs_rl.arms]\nx = plug_x:X",
            "raise Exception('no licence\\nread the manual')",
            "plug_x:X cannot be imported (Exception: no licence);",
        ),
        (
            "[unicrs_rl.metrics]\nm = plug_x:X",
            "assert False",
            "plug_x:X cannot be imported (AssertionError);",
        ),
        (
            "[unicrs_rl.metrics]\nm = plug_x:X",
            "class Own(Exception): pass\nraise Own('own')",
            "metric 'm' of package plug-bad 2.1: plug_x:X cannot be imported (Own: own)",
        ),
        (
            "[unicrs_rl.metrics]\nturns = plug_x:X",
            METRIC.replace("LISTS =", "X =").replace('"lists"', '"turns"'),
            "metric 'turns' of package plug-bad 2.1: unicrs-rl itself writes a column of this name already",
        ),
        (
            "[unicrs_rl.metrics]\ndist2_corpus = plug_x:X",
            "raise SystemExit('is not even imported')",
            "metric 'dist2_corpus' of package plug-bad 2.1: unicrs-rl itself writes a column of this name",
        ),
        ("[unicrs_rl.arms]\nx = plug_x:X", "X = 1 +", "cannot be imported (SyntaxError"),
        ("[unicrs_rl.arms]\nx = plug_x:X", "", "cannot be imported (AttributeError"),
        ("[unicrs_rl.arms]\nx = plug_x:X", "X = 7", "is no class derived from unicrs_rl.policy.base.Policy"),
        (
            "[unicrs_rl.arms]\nx = plug_x:X",
            "from unicrs_rl.policy.base import Policy\nclass X(Policy):\n    pass",
            "does not define decide",
        ),
        ("[unicrs_rl.arms]\nUp = plug_x:X", "X = 7", "arm 'Up' of package plug-bad 2.1: a name is of small"),
        ("[unicrs_rl.arms]\nunified = plug_x:X", "X = 7", "unicrs-rl itself has one of this name already"),
        ("[unicrs_rl.metrics]\nm = plug_x:X", "X = 7", "metric 'm' of package plug-bad 2.1: plug_x:X is no"),
        ("[unicrs_rl.metrics]\nm = plug_x:LISTS", METRIC, "calls itself 'lists'"),
        (
            "[unicrs_rl.metrics]\nat = plug_x:X",
            "X = 7",
            "metric 'at' of package plug-bad 2.1: unicrs-rl itself",
        ),
    ],
)
def test_a_package_of_no_use_is_one_clear_line_that_names_it(
    installed: Install,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    points: str,
    module: str,
    says: str,
) -> None:
    installed("plug-bad", points, plug_x=module)
    out = tmp_path / "out"
    arm = "x" if "\nx =" in points else "greedy"
    assert main(["compare", "--arms", f"{arm},random", "--dialogues", "2", "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "plug-bad 2.1" in err
    assert len(err.splitlines()) == 1
    assert not out.exists()


OF_ITS_OWN = """
from unicrs_rl.judging.metrics import Metric
def of(found):
    {body}
X = Metric("m", "M", True, "anything", "points", of)
"""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise Exception('out of\\ncheese')", "failed in a dialogue (Exception: out of);"),
        ("assert found is None", "failed in a dialogue (AssertionError);"),
        ("return 1 / 0", "failed in a dialogue (ZeroDivisionError: division by zero);"),
        ("return 10 ** 400", "failed in a dialogue (OverflowError"),
        ("return '0.5'", "gave '0.5'; it has to give a finite number, or None for no value;"),
        ("return float('nan')", "gave nan; it has to give a finite number, or None"),
        ("return -float('inf')", "gave -inf; it has to give a finite number, or None"),
        ("return [[1.0],\n 2.0]", "gave [[1.0], 2.0]; it has to give"),
    ],
)
def test_a_metric_that_gives_no_number_is_refused(installed: Install, body: str, says: str) -> None:
    installed("plug-bad", "[unicrs_rl.metrics]\nm = plug_x:X", plug_x=OF_ITS_OWN.format(body=body))
    with pytest.raises(InputError) as refused:
        measure(Dialogue("Hello."), 0, 15, None, (), None)
    assert str(refused.value).startswith(f"metric 'm' of package plug-bad 2.1: plug_x:X {says}")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return None", None),
        ("return 3", 3.0),
        ("return True", 1.0),
        ("import numpy; return numpy.float32(0.5)", 0.5),
        ("import numpy; return numpy.int64(2)", 2.0),
    ],
)
def test_numbers_of_any_kind_are_written_as_numbers(
    installed: Install, body: str, value: float | None
) -> None:
    before = measure(Dialogue("Hello."), 0, 15, None, (), None)
    METRIC_BY_NAME._outside = None
    installed("plug-good", "[unicrs_rl.metrics]\nm = plug_x:X", plug_x=OF_ITS_OWN.format(body=body))
    after = measure(Dialogue("Hello."), 0, 15, None, (), None)
    assert after == before | {"m": value}
    assert type(after["m"]) is type(value)


def test_a_run_goes_on_when_its_metric_is_repaired(
    installed: Install, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    installed("plug-bad", "[unicrs_rl.metrics]\nm = plug_x:X", plug_x=OF_ITS_OWN.format(body="return 'high'"))
    arguments = ["compare", "--arms", "greedy,random", "--dialogues", "2", "--out", str(tmp_path / "run")]
    settings = tmp_path / "settings.toml"
    settings.write_text("recommend_above = 0.3\nembeddings = { dim = 4, epochs = 1 }\n")
    arguments += ["--config", str(settings)]
    assert main(arguments) == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert "metric 'm' of package plug-bad 2.1: plug_x:X gave 'high'" in complaint
    del sys.modules["plug_x"]
    (tmp_path / "site" / "plug_x.py").write_text(OF_ITS_OWN.format(body="return 0.25  # repaired"))
    assert main([*arguments, "--resume"]) == 0
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {arm["metrics"]["m"] for arm in found["arms"].values()} == {0.25}


def test_doctor_says_what_is_broken(installed: Install, capsys: pytest.CaptureFixture[str]) -> None:
    points = "[unicrs_rl.arms]\ncurious = plug_a:Curious\nx = plug_x:X\n"
    points += "[unicrs_rl.metrics]\nm = plug_x:X\n[unicrs_rl.worlds]\nmoon = plug_x:X\n"
    installed("plug-mixed", points, plug_a=ARM, plug_x="raise Exception('no licence')")
    assert main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["plug-ins"]
    assert said.pop("arm curious") == "plug-mixed 2.1"
    assert set(said) == {"arm x", "metric m", "world moon"}
    for text in said.values():
        assert text.startswith("broken: ")
        assert "of package plug-mixed 2.1: plug_x:X cannot be imported (Exception: no licence)" in text
    assert main(["doctor"]) == 0
    assert "  arm x: broken: arm 'x' of package plug-mixed 2.1" in capsys.readouterr().out


def test_two_packages_with_one_name_are_refused(installed: Install) -> None:
    installed("plug-one", "[unicrs_rl.worlds]\nmoon = plug_w:make", plug_w="def make(data, seed): ...")
    installed("plug-two", "[unicrs_rl.worlds]\nmoon = plug_w:make")
    with pytest.raises(
        InputError, match=r"'moon' of package plug-two 2\.1: package plug-one 2\.1 has one of"
    ):
        make_world("moon")


def test_a_world_has_to_be_one(installed: Install) -> None:
    source = "def make(data, seed):\n    'A moon.'\n    return 3\nthing = 3\n"
    installed("plug-w", "[unicrs_rl.worlds]\nmoon = plug_w:make\nsun = plug_w:thing", plug_w=source)
    assert worlds["moon"].__doc__ == "A moon."
    with pytest.raises(InputError, match=r"plug_w:make makes no unicrs_rl\.graphs\.world\.World"):
        make_world("moon")
    with pytest.raises(InputError, match="plug_w:thing cannot be called"):
        make_world("sun")


@pytest.mark.slow
def test_the_example_package_is_used_by_every_process(tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "src", site)
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in declared.items()
    )
    install(site, "unicrs_rl_example", points, {})
    settings = tmp_path / "settings.toml"
    settings.write_text("recommend_above = 0.3\nembeddings = { epochs = 1 }\n")
    command = [sys.executable, "-m", "unicrs_rl.cli", "compare", "--world", "example-world", "--json"]
    command += ["--arms", "example-arm,max-entropy", "--dialogues", "10", "--workers", "2"]
    command += ["--config", str(settings), "--out", str(tmp_path / "run")]
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["arms"]) == {"example-arm", "max-entropy"}
    assert found["arms"]["example-arm"]["counts"]["questions"] == 10
    origin = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert origin["versions"]["unicrs_rl_example"] == "2.1"
