"""The options of the loads: what is wrong with one is said in a line."""

from collections.abc import Callable, Sequence

import pytest

from loadtest.arrivals.__main__ import main as arrivals
from loadtest.users.__main__ import main as users


@pytest.mark.parametrize(
    ("main", "line", "message"),
    [
        (users, "--profile nonsense", "argument --profile: invalid choice: 'nonsense'"),
        (users, "--seconds 0", "argument --seconds: 0 is not more than 0"),
        (users, "--seconds nan", "argument --seconds: 'nan' is not a number"),
        (users, "--scale x", "argument --scale: 'x' is not a number"),
        (users, "--users 1.5", "argument --users: '1.5' is not a number of 1 or more"),
        (users, "--ceiling-seconds=-1", "argument --ceiling-seconds: -1 is less than 0"),
        (users, "--server nowhere", "argument --server: 'nowhere' has no port"),
        (users, "--server h:1", "--server and --admin-server go together"),
        (users, "--server h:1 --admin-server h:2", "--server needs the --token of an operator, or TOLLGATE_TOKEN"),
        (users, "--token t", "--token, --data-dir and --supervisor-pid are those of a gateway that --server names"),
        (
            users,
            "--profile outage --server h:1 --admin-server h:2 --token t",
            "--profile outage kills the front of the gateway: name its --supervisor-pid",
        ),
        (arrivals, "--per-second=-1", "argument --per-second: -1 is not more than 0"),
        (arrivals, "--over smoke", "argument --over: invalid choice: 'smoke'"),
        (arrivals, "--arrivals never", "argument --arrivals: invalid choice: 'never'"),
    ],
)
def test_a_wrong_option_is_said(
    main: Callable[[Sequence[str]], int],
    line: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("TOLLGATE_TOKEN", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert message in said.splitlines()[-1]
