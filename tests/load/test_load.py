"""The load generator against a tiny server whose behaviour is known."""
import asyncio
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import unittest

LOAD = os.environ.get("TRM_LOAD", str(
    pathlib.Path(__file__).resolve().parents[2] / "build/release/bin/trmd-load"))
PUZZLES = ["53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79",
           "..9.38.4..587......2.4..85.39...74.86453.12......2.6.5.....537..3....126....7...."]
SOLVED = {"status": "solved", "verified": True}


def response(body, status=200, extra=""):
    text = json.dumps(body)
    return (f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(text)}\r\n\r\n{text}").encode()


class Server:
    """Reads requests and lets `answer(writer, number, path, body)` write what comes back."""

    def __init__(self, answer):
        self.answer, self.count, self.seen, self.connections = answer, 0, [], 0
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait()

    def run(self, ready):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1000))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        server.close()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.lower().split(": ", 1)
                               for line in head.split("\r\n")[1:] if line)
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                number, self.count = self.count, self.count + 1
                self.seen.append((head.split()[1], body, headers))
                await self.answer(writer, number)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="trm-load-")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.puzzles = self.dir / "puzzles.txt"
        self.puzzles.write_text("\n".join(PUZZLES) + "\n")

    def server(self, answer):
        server = Server(answer)
        self.addCleanup(server.stop)
        return server

    def load(self, server, *args, mix=None):
        mix = mix or [f"sudoku:{self.puzzles}"]
        command = [LOAD, "--port", str(server.port), "--json"]
        for each in mix:
            command += ["--mix", each]
        done = subprocess.run(command + [str(a) for a in args], capture_output=True, text=True,
                              timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def refused(self, *args):
        done = subprocess.run([LOAD] + [str(a) for a in args], capture_output=True, text=True,
                              timeout=60)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertEqual(done.stdout, "")
        return done.stderr

    def test_the_schedule_is_a_poisson_process_and_repeats_with_its_seed(self):
        async def answer(writer, number):
            writer.write(response(SOLVED))
        runs = []
        for seed in (7, 7, 8):
            server = self.server(answer)
            report = self.load(server, "--rate", 300, "--duration", 1, "--seed", seed)
            self.assertEqual(report["statuses"], {"200": report["requests"]})
            self.assertEqual(report["requests"], server.count)
            self.assertEqual(report["puzzles"]["solved"], server.count)
            runs.append(sorted(body["puzzle"] for _, body, _ in server.seen))
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])
        for run in runs:  # the seeds are fixed, so this is no matter of luck
            self.assertTrue(240 < len(run) < 360, len(run))
            self.assertEqual(set(run), set(PUZZLES))

    def test_a_server_that_stalls_cannot_hide_it(self):
        stalled = []

        async def answer(writer, number):
            if number >= 50 and not stalled:
                stalled.append(asyncio.get_running_loop().create_task(asyncio.sleep(1.5)))
            if stalled:
                await asyncio.shield(stalled[0])
            writer.write(response(SOLVED))
        report = self.load(self.server(answer), "--rate", 100, "--duration", 2)
        # whoever was meant to be sent in the first half of the stall waited half of it or more
        slow = report["latency_ms"]
        self.assertGreater(slow["p90"], 700)
        self.assertGreater(slow["max"], 1300)
        self.assertLess(slow["p50"], slow["p90"])

    def test_waiting_for_a_busy_connection_counts(self):
        async def answer(writer, number):
            await asyncio.sleep(0.1)
            writer.write(response(SOLVED))
        server = self.server(answer)
        report = self.load(server, "--rate", 50, "--duration", 1, "--connections", 1)
        self.assertEqual(server.connections, 1)
        self.assertGreater(report["waited_for_connection"], 10)
        self.assertGreater(report["latency_ms"]["max"], 2000)  # ~50 answers at 10 a second
        self.assertGreater(report["lag_ms"]["max"], 2000)

    def test_refusals_are_told_apart(self):
        async def answer(writer, number):
            if number % 2:
                writer.write(response({"status": 429}, 429))
            else:
                await asyncio.sleep(0.05)
                writer.write(response({"status": "deadline", "verified": False}))
        report = self.load(self.server(answer), "--rate", 100, "--duration", 1)
        self.assertEqual(report["statuses"]["429"], report["refusal_ms"]["n"])
        self.assertEqual(report["statuses"]["200"], report["latency_ms"]["n"])
        self.assertEqual(report["puzzles"]["deadline"], report["statuses"]["200"])
        self.assertGreater(report["latency_ms"]["p50"], 50)

    def test_answers_later_than_their_deadline_and_unverified_ones_are_counted(self):
        async def answer(writer, number):
            await asyncio.sleep(0.05)
            writer.write(response({"results": [SOLVED, {"status": "solved", "verified": False}]}))
        report = self.load(self.server(answer), "--rate", 50, "--duration", 1, "--deadline-ms", 40)
        self.assertEqual(report["late"], report["requests"])
        self.assertGreater(report["late_by_ms"], 10)
        self.assertEqual(report["unverified"], report["requests"])
        self.assertEqual(report["puzzles"]["solved"], 2 * report["requests"])

    def test_failures_are_counted_by_kind(self):
        async def answer(writer, number):
            if number % 4 == 0:
                writer.close()
            elif number % 4 == 1:
                writer.write(b"SSH-2.0-x\r\n\r\n")
            elif number % 4 == 2:
                await asyncio.sleep(30)
            else:
                writer.write(response(SOLVED))
        server = self.server(answer)
        report = self.load(server, "--rate", 100, "--duration", 1, "--timeout", 1)
        n = report["requests"]
        self.assertEqual(n, server.count)
        self.assertEqual(report["failures"],
                         {"connect": 0, "reset": (n + 3) // 4, "timeout": (n + 1) // 4,
                          "not_http": (n + 2) // 4})

    def test_a_refused_connection_is_a_failure(self):
        async def answer(writer, number):
            writer.write(response(SOLVED))
        server = self.server(answer)
        port, server.port = server.port, 1  # nobody listens there
        report = self.load(server, "--rate", 50, "--duration", 1)
        server.port = port
        self.assertEqual(report["failures"]["connect"], report["requests"])
        self.assertIsNone(report["latency_ms"]["p50"])

    def test_responses_in_pieces_and_connections_that_close(self):
        async def answer(writer, number):
            for byte in response(SOLVED, extra="Connection: close\r\n" if number % 2 else ""):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            if number % 2:
                writer.close()
        server = self.server(answer)
        report = self.load(server, "--rate", 50, "--duration", 1)
        self.assertEqual(report["statuses"], {"200": report["requests"]})
        self.assertEqual(sum(report["failures"].values()), 0)
        self.assertGreater(server.connections, report["requests"] // 3)

    def test_a_mix_is_sent_by_weight_and_reported_by_part(self):
        maze = self.dir / "maze.csv"
        maze.write_text("source,question,answer,rating\nx,S#/ #/ G,S#/o#/oG,3\n")
        task = self.dir / "task.json"
        task.write_text(json.dumps({"train": [], "test": []}))

        async def answer(writer, number):
            writer.write(response(SOLVED))
        server = self.server(answer)
        report = self.load(
            server, "--rate", 200, "--duration", 1, "--max-steps", 9, "--attempts", 3,
            "--header", "X-API-Key: k",
            mix=[f"sudoku:{self.puzzles}:8", f"maze:{maze}:1", f"arc:{task}"])
        sent = {path: [s for s in server.seen if s[0] == path]
                for path in ("/v1/sudoku", "/v1/maze", "/v1/arc")}
        self.assertEqual([row["latency_ms"]["n"] for row in report["mix"]],
                         [len(part) for part in sent.values()])
        self.assertGreater(len(sent["/v1/sudoku"]), 3 * len(sent["/v1/maze"]))
        self.assertGreater(len(sent["/v1/arc"]), 0)
        self.assertEqual(sent["/v1/maze"][0][1],
                         {"puzzle": "S#\n #\n G", "max_steps": 9, "attempts": 3})
        self.assertEqual(sent["/v1/arc"][0][1]["train"], [])
        self.assertEqual(sent["/v1/sudoku"][0][2]["x-api-key"], "k")

    def test_a_closed_loop_keeps_every_connection_busy(self):
        async def answer(writer, number):
            await asyncio.sleep(0.05)
            writer.write(response(SOLVED))
        server = self.server(answer)
        report = self.load(server, "--closed", "--connections", 5, "--duration", 1)
        self.assertEqual(server.connections, 5)
        self.assertLessEqual(report["requests"], 105)
        self.assertGreater(report["requests"], 5)

    def test_the_warmup_is_sent_but_not_counted(self):
        async def answer(writer, number):
            writer.write(response(SOLVED))
        server = self.server(answer)
        report = self.load(server, "--rate", 100, "--duration", 2, "--warmup", 1)
        self.assertLess(report["requests"], 0.7 * server.count)
        self.assertGreater(report["requests"], 0.3 * server.count)

    def test_bad_arguments_are_refused(self):
        mix = f"sudoku:{self.puzzles}"
        self.assertIn("--port", self.refused("--mix", mix, "--rate", 1))
        self.assertIn("--rate", self.refused("--port", 1, "--mix", mix))
        self.assertIn("no such value", self.refused("--port", "x", "--mix", mix))
        self.assertIn("no such value", self.refused("--port", "1.5", "--mix", mix))
        self.assertIn("No such file", self.refused("--port", 1, "--rate", 1, "--mix", "maze:/x"))
        self.assertIn("must be", self.refused("--port", 1, "--rate", 1, "--mix", "chess:/x"))
        self.assertIn("must be", self.refused("--port", 1, "--rate", 1, "--mix", mix + ":-1"))
        self.assertIn("not an IP", self.refused(
            "--port", 1, "--rate", 1, "--mix", mix, "--host", "nowhere"))
        empty = self.dir / "empty"
        empty.write_text("\n")
        self.assertIn("no puzzle", self.refused(
            "--port", 1, "--rate", 1, "--mix", f"sudoku:{empty}"))


if __name__ == "__main__":
    unittest.main()
