"""gateway/v1 is what the compiler makes of proto/ today."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools/generate_proto.py", tmp_path], check=True, timeout=120)
    made = {path.name: path.read_bytes() for path in (tmp_path / "gateway/v1").iterdir()}
    kept = {
        path.name: path.read_bytes()
        for path in (ROOT / "gateway/v1").iterdir()
        if path.is_file() and path.name != "__init__.py"
    }
    assert sorted(made) == sorted(kept), "make proto"
    assert [name for name in made if made[name] != kept[name]] == [], "make proto"
