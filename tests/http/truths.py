"""What must hold of every answer, whoever else asks: rules written a second time, and puzzles posted in
any company. test_truth.py holds small samples to it, the command `truth` whole files."""
import collections
import csv
import random
import threading

from support import valid

DIGITS = "123456789"


def puzzles_of(path):
    """(kind, question, known answer or None) of a CSV file `source,question,answer,rating` or of a
    file of lines; a maze as its rows joined by newlines."""
    with open(path, encoding="ascii", newline="") as f:
        first = f.readline()
        f.seek(0)
        rows = [(r["question"], r["answer"] or None) for r in csv.DictReader(f)] if first.startswith("source,") else \
            [(line.rstrip("\n"), None) for line in f if line.strip()]
    return [("sudoku", q, a) if len(q) == 81 and not set(q) - set(DIGITS + ".0_") else ("maze", maze(q), None)
            for q, a in rows]


def maze(text):
    return "\n".join(text.split("/") if "/" in text else [text[i:i + 30] for i in range(0, 900, 30)])


def image(rng, item):
    """The same puzzle to a mathematician, another one to the model."""
    kind, question, answer = item
    if kind == "maze":
        rows = question.split("\n")
        for _ in range(rng.randrange(4)):
            rows = ["".join(column) for column in zip(*rows[::-1])]
        return kind, "\n".join(rng.choice((rows, rows[::-1]))), None
    lines = lambda: [3 * band + i for band in rng.sample(range(3), 3) for i in rng.sample(range(3), 3)]
    places = [r * 9 + c for columns in [lines()] for r in lines() for c in columns]
    names = str.maketrans(DIGITS, "".join(rng.sample(DIGITS, 9)))
    turned = [text and "".join(text[i] for i in places).translate(names) for text in (question, answer)]
    return kind, *turned


def spoiled(rng, item):
    """The puzzle with one thing more, after which nothing solves it."""
    kind, question, answer = item
    if kind == "maze":  # a second start
        at, more = rng.choice([i for i, c in enumerate(question) if c in " ."]), "S"
    elif answer:  # a digit that clashes with nothing, perhaps, and yet is not the solution's
        at = rng.choice([i for i, c in enumerate(question) if c not in DIGITS])
        more = rng.choice([d for d in DIGITS if d != answer[at]])
    else:  # a digit twice in a row
        at, more = rng.choice([(i, c) for i, x in enumerate(question) if x not in DIGITS
                               for c in question[i // 9 * 9:i // 9 * 9 + 9] if c in DIGITS])
    return kind, question[:at] + more + question[at + 1:], None


def way(puzzle, solution):
    """The moves from S to G that a solution marks, None if it is not one path through the puzzle."""
    if any(p != s and (p, s) != (" ", "o") for p, s in zip(puzzle, solution)) or len(puzzle) != len(solution):
        return None
    cell = {(r, c): x for r, row in enumerate(solution.split("\n")) for c, x in enumerate(row) if x in "SGo"}
    beside = lambda at: [n for n in ((at[0] + 1, at[1]), (at[0], at[1] - 1), (at[0], at[1] + 1), (at[0] - 1, at[1]))
                         if n in cell]
    at, walked = next(p for p, x in cell.items() if x == "S"), []
    while True:
        walked.append(at)
        ahead = [n for n in beside(at) if n not in walked[-2:]]
        if cell[at] == "G":
            return walked if not ahead and len(walked) == len(cell) else None
        if len(ahead) != 1 or ahead[0] in walked:
            return None
        at = ahead[0]


def shortest(puzzle):
    """Moves from S to G by breadth-first search."""
    rows = puzzle.split("\n")
    at = next((r, row.index("S")) for r, row in enumerate(rows) if "S" in row)
    seen, queue = {at: 0}, collections.deque([at])
    while queue:
        r, c = queue.popleft()
        if rows[r][c] == "G":
            return seen[r, c]
        for n in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if 0 <= n[0] < len(rows) and 0 <= n[1] < len(rows[0]) and rows[n[0]][n[1]] != "#" and n not in seen:
                seen[n] = seen[r, c] + 1
                queue.append(n)
    return None


def wrong(item, a):
    """What is untrue about an answer, None if nothing is."""
    kind, question, known = item
    if a["kind"] != kind or a["status"] not in ("solved", "unsolved", "deadline"):
        return f"kind {a['kind']}, status {a['status']}"
    if (a["status"] == "solved") != a["verified"]:
        return f"status {a['status']}, verified {a['verified']}"
    if kind == "sudoku":
        if a["verified"] != valid(question, a["solution"]):
            return f"verified {a['verified']}, which it is not: {a['solution']}"
        return "not the one solution" if a["verified"] and known and a["solution"] != known else None
    walked = way(question, a["solution"])
    if a["verified"] != (walked is not None):
        return f"verified {a['verified']}, which it is not: {a['solution']}"
    if walked and ([list(p) for p in walked] != a["path"] or a["length"] != len(walked) - 1 or
                   a["optimal"] != (a["length"] == shortest(question))):
        return f"path, length or optimal of {a['solution']}"
    return None


def company(server, items, seed, clients=4, most=16, tell=lambda n: None):
    """Posts every puzzle once: shuffled, in requests of up to `most` puzzles, by so many clients at a
    time, and beside them puzzles that nothing solves. Returns the answers by (kind, question), and
    [what is untrue, about which puzzle]."""
    rng, lock, answers, bad = random.Random(seed), threading.Lock(), {}, []
    requests = []
    for kind in ("sudoku", "maze"):
        mine = rng.sample([i for i in items if i[0] == kind], sum(i[0] == kind for i in items))
        while mine:
            size = rng.randint(1, most)
            requests.append((mine[:size], False))
            mine = mine[size:]
    requests += [([spoiled(rng, rng.choice(items))], True) for _ in range(len(requests) // 4 + 1)]
    rng.shuffle(requests)

    def ask(batch, none):
        status, _, body = server.post("/v1/" + batch[0][0], {"puzzles": [q for _, q, _ in batch]})
        if none and status == 422 and body["type"] == "/problems/impossible-puzzle":
            return
        if status != 200 or len(body["results"]) != len(batch):
            raise AssertionError(f"status {status}: {body}")
        for item, a in zip(batch, body["results"]):
            why = wrong(item, a) or (none and a["verified"] and "a solution, where there is none")
            with lock:
                answers[item[:2]] = a
                if why:
                    bad.append((why, item))

    def client():
        while True:
            with lock:
                if not requests:
                    return
                batch, none = requests.pop()
            try:
                ask(batch, none)
            except Exception as e:
                with lock:
                    bad.append((repr(e), batch))
            tell(len(batch))
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers, bad


def differing(items, one, other):
    """Puzzles with other verified answers in one company than in the other; and those that were
    verified in one alone. A maze may have several ways, all of them true."""
    pairs = [(i, one[i[:2]], other[i[:2]]) for i in items if i[:2] in one and i[:2] in other]
    both = [i for i, a, b in pairs
            if i[0] == "sudoku" and a["verified"] and b["verified"] and a["solution"] != b["solution"]]
    return both, [i for i, a, b in pairs if a["verified"] != b["verified"]]
