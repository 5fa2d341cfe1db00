"""A mistyped command line is told so in one line, and help is never an error."""
import os
import subprocess

from support import COMMANDS, NEWSPAPER, TRM, Case, trm


class Options(Case):
    def test_help_is_success(self):
        for args in [["--help"], ["-h"]] + [[c, "--help"] for c in COMMANDS]:
            with self.subTest(args):
                out = self.ok(*args)
                self.assertIn("Usage: trm", out)

    def test_every_command_is_listed(self):
        listed = self.ok("--help")
        for c in COMMANDS:
            self.assertIn(f"  {c} ", listed)

    def test_version(self):
        self.assertRegex(self.ok("--version"), r"^trm \d+\.\d+\.\d+\n$")

    def test_nothing_to_do(self):
        self.refused(says="missing command")

    def test_unknown_command(self):
        self.refused("sovle", says="unknown command sovle")
        self.refused("--sovle", says="unknown option --sovle")

    def test_unknown_option(self):
        for c in COMMANDS:
            with self.subTest(c):
                self.refused(c, "--none-such", says="unknown option --none-such")
                self.refused(c, "-Z", says="unknown option -Z")

    def test_unknown_letter_among_others_is_the_one_named(self):
        self.refused("solve", "sudoku", "-zq", says="unknown option -z ")

    def test_value_for_an_option_that_takes_none(self):
        self.refused("solve", "sudoku", "--json=yes", says="--json takes no value")

    def test_option_without_its_value(self):
        self.refused("eval", "sudoku", "x", "--limit", says="--limit needs a value")

    def test_number_that_is_none(self):
        for bad in ["0", "-1", "3x", "", "1e3", "99999999999999999999"]:
            with self.subTest(bad):
                self.refused("eval", "sudoku", "x", "--limit", bad, says="--limit must be")
        self.refused("gen", "sudoku", "--seed", "-1", says="--seed must be")
        self.refused("gen", "maze", "--walls", "nan", says="--walls must be")

    def test_missing_and_extra_arguments(self):
        for c in ["solve", "eval", "gen", "train", "info", "import"]:
            with self.subTest(c):
                self.refused(c, says="missing argument")
        self.refused("gen", "sudoku", "maze", says="unexpected argument maze")

    def test_kind_that_is_none(self):
        for args in [["solve", "chess"], ["eval", "chess", "x"], ["gen", "chess"]]:
            self.refused(*args, says="'chess' is not a kind of puzzle")

    def test_choice_that_is_none(self):
        self.refused("eval", "sudoku", "x", "--halt", "soon", says="--halt must be")
        self.refused("import", "x", "-o", "y", "--dtype", "int4", says="--dtype must be")
        self.refused("bench", "--size", "huge", says="--size must be")
        self.refused("gen", "sudoku", "--difficulty", "huge", says="--difficulty of a Sudoku")
        self.refused("gen", "maze", "--difficulty", "huge", says="--difficulty of a maze")
        self.refused("gen", "maze", "--style", "huge", says="--style must be")
        self.refused("gen", "maze", "--size", "31", says="--size must be")
        self.refused("gen", "maze", "--size", "9-5", says="--size must be")

    def test_full_disk_is_noticed(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        with open("/dev/full", "w") as full:
            done = subprocess.run([TRM, "gen", "sudoku", "--count", "3"], stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write to standard output", done.stderr)

    def test_full_disk_is_no_fault_of_the_input(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        path = self.file("p", NEWSPAPER)
        done = trm("eval", "sudoku", path, "--max-steps", 1, "--attempts", 1, "--marks", "/dev/full")
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertIn("/dev/full", done.stderr)

    def test_exit_code_of_a_missing_file(self):
        self.refused("info", "/none/such.safetensors", says="/none/such.safetensors")
        self.refused("eval", "sudoku", "/none/such.csv", says="/none/such.csv")
        self.assertEqual(trm("solve", "sudoku", "/none/such").returncode, 2)


if __name__ == "__main__":
    import unittest
    unittest.main()
