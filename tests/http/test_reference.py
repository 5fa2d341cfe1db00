"""What a reader is told about trmd is what trmd does."""
import json
import pathlib
import subprocess
import tempfile
import unittest

from support import TRMD

ROOT = pathlib.Path(__file__).resolve().parents[2]


def says(*args, **kw):
    return subprocess.run([TRMD, *args], capture_output=True, text=True, timeout=60, **kw)


class Reference(unittest.TestCase):
    def test_readme_holds_the_table_of_options_as_trmd_prints_it(self):
        table = says("--help-markdown").stdout.strip()
        self.assertIn("| `--port PORT` |", table)
        self.assertIn(table, (ROOT / "README.md").read_text(),
                      "README.md: paste the output of trmd --help-markdown under All options")

    def test_every_option_is_in_help_as_flag_variable_and_key(self):
        text, config = says("--help").stdout, json.loads(says("--check-config").stdout)
        self.assertGreater(len(config), 30)
        for key, value in config.items():
            flag = "--" + key.replace("_", "-")
            self.assertIn(f"\n  {flag} ", text)
            shown = ",".join(value) if isinstance(value, list) else \
                {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
            env = {"TRMD_" + key.upper(): shown}
            again = json.loads(says("--check-config", env=env).stdout)
            self.assertEqual(again[key], value, key)
            if shown:
                self.assertEqual(json.loads(says("--check-config", flag, shown).stdout)[key], value, key)

    def test_what_check_config_prints_is_a_config_file(self):
        printed = says("--check-config", "--queue-puzzles", "77", "--max-puzzles-per-request", "7").stdout
        again = says("--check-config", "--config", "/dev/stdin", input=printed)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(json.loads(again.stdout), json.loads(printed))

    def test_bad_settings_fail_the_check_and_name_the_place(self):
        for args, place in ((("--threads", "many"), "--threads"), (("--model", "/nowhere"), "--model"),
                            (("--deadline-ms", "999999999"), "--deadline-ms"), (("--tls-cert", "/nowhere"), "--tls-cert")):
            done = says("--check-config", *args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), args)
            self.assertIn(place, done.stderr)
        with tempfile.NamedTemporaryFile() as f:  # a file that is there is not a model yet
            f.write(b"not a model")
            f.flush()
            done = says("--check-config", "--model", f.name)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn(f.name, done.stderr)
        done = says("--check-config", env={"TRMD_PORT": "x"})
        self.assertIn("TRMD_PORT", done.stderr)

    def test_a_full_disk_is_noticed(self):
        for what in ("--help", "--help-markdown", "--version", "--check-config"):
            with open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run([TRMD, what], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual(done.returncode, 1, what)
            self.assertIn("cannot write to standard output", done.stderr)

    def test_version(self):
        self.assertRegex(says("--version").stdout, r"^trmd \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main()
