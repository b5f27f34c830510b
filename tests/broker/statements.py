# SPDX-License-Identifier: MIT
"""All numbered statements of both versions, and why some have no test. `python3 statements.py --write` writes README's table."""

import pathlib
import re
import sys

CLIENT = "binds clients only"
TABLES = {4: "MQTT 3.1.1", 5: "MQTT 5.0"}


def numbers(text):
    """"3.1.0-1..2" is two of them."""
    for word in text.split():
        section, first, last = re.fullmatch(r"([\d.]+)-(\d+)(?:\.\.(\d+))?", word).groups()
        for n in range(int(first), int(last or first) + 1):
            yield f"{section}-{n}"


ALL = {
    4: list(numbers("""1.5.3-1..3 2.2.2-1..2 2.3.1-1..7 3.1.0-1..2 3.1.2-1..24 3.1.3-1..11 3.1.4-1..5 3.2.0-1 3.2.2-1..6 3.3.1-1..12
        3.3.2-1..3 3.3.4-1 3.3.5-1..2 3.6.1-1 3.8.1-1 3.8.3-1..4 3.8.4-1..6 3.9.3-1..2 3.10.1-1 3.10.3-1..2 3.10.4-1..6 3.12.4-1
        3.14.1-1 3.14.4-1..3 4.1.0-1..2 4.3.1-1 4.3.2-1..2 4.3.3-1..2 4.4.0-1 4.5.0-1..2 4.6.0-1..6 4.7.1-1..3 4.7.2-1 4.7.3-1..4
        4.8.0-1..2 6.0.0-1..4 7.0.0-1..2 7.1.1-1 7.1.2-1""")),
    5: list(numbers("""1.5.4-1..3 1.5.5-1 1.5.7-1 2.1.3-1 2.2.1-2..6 2.2.2-1 3.1.0-1..2 3.1.2-1..30 3.1.3-1..12 3.1.4-1..6 3.2.0-1..2
        3.2.2-1..22 3.3.1-1..13 3.3.2-1..20 3.3.4-1..10 3.4.2-1..3 3.5.2-1..3 3.6.1-1 3.6.2-1..3 3.7.2-1..3 3.8.1-1 3.8.3-1..5
        3.8.4-1..8 3.9.2-1..2 3.9.3-1..2 3.10.1-1 3.10.3-1..2 3.10.4-1..6 3.11.2-1..2 3.11.3-1..2 3.12.4-1 3.14.0-1 3.14.1-1
        3.14.2-1..4 3.14.4-1..3 3.15.1-1 3.15.2-1..3 4.1.0-1..2 4.2-1 4.3.1-1 4.3.2-1..5 4.3.3-1..13 4.4.0-1..2 4.5.0-1..2
        4.6.0-1..6 4.7.0-1 4.7.1-1..2 4.7.2-1 4.7.3-1..4 4.8.2-1..6 4.9.0-1..3 4.12.0-1..7 4.12.1-1..2 4.13.1-1 4.13.2-1
        6.0.0-1..4""")),
}

WITHOUT = {
    4: {
        "2.3.1-2": CLIENT, "2.3.1-3": CLIENT, "3.1.2-23": CLIENT, "3.1.3-7": CLIENT + "; what a server does is 3.1.3-8",
        "3.14.4-1": CLIENT, "3.14.4-2": CLIENT, "4.5.0-2": CLIENT, "4.6.0-2": CLIENT, "4.6.0-3": CLIENT,
        "4.8.0-2": "not observable: transient errors cannot be caused from outside",
        "7.0.0-1": "about a server that connects to others; the links are tested in tests/integration", "7.1.2-1": CLIENT,
    },
    5: {
        "3.1.2-20": CLIENT, "3.1.2-30": CLIENT, "3.2.2-4": CLIENT, "3.2.2-5": CLIENT, "3.2.2-11": CLIENT,
        "3.2.2-10": "about servers without QoS 1 or 2", "3.2.2-12": "about servers without QoS 1 or 2",
        "3.3.2-10": CLIENT, "3.3.4-8": CLIENT, "4.5.0-2": CLIENT, "4.6.0-1": CLIENT, "4.6.0-2": CLIENT, "4.6.0-3": CLIENT, "4.6.0-4": CLIENT,
        "3.15.2-1": "the server knows no authentication method, so it sends no AUTH",
        "4.12.0-2": "the server knows no authentication method, so it sends no AUTH", "4.12.0-3": CLIENT,
        "4.12.0-5": "the server knows no authentication method, so no CONNECT with one succeeds", "4.12.1-1": CLIENT,
    },
}


def covered():
    """Imports every test file, which fills the table of conformance.py."""
    here = pathlib.Path(__file__).resolve().parent
    sys.path.insert(0, str(here))
    import conformance
    for file in sorted(here.glob("test_*.py")):
        if file.stem not in sys.modules:
            __import__(file.stem)
    return conformance.COVERED


def problems():
    found = []
    tests = covered()
    for v, name in TABLES.items():
        for n in ALL[v]:
            if (n in tests[v]) == (n in WITHOUT[v]):
                found.append(f"{name}: {n} has " + ("a test and a reason for none" if n in tests[v] else "neither test nor reason"))
        for n in (set(tests[v]) | set(WITHOUT[v])) - set(ALL[v]):
            found.append(f"{name}: there is no {n}")
    return found


def table():
    tests = covered()
    out = []
    for v, name in TABLES.items():
        n_tested = sum(n in tests[v] for n in ALL[v])
        out += [f"### {name}: {len(ALL[v])} statements, {n_tested} tested", "", "| statement | tests |", "| --- | --- |"]
        for n in ALL[v]:
            cell = "<br>".join(f"`{t}`" for t in sorted(set(tests[v].get(n, [])))) or "— " + WITHOUT[v].get(n, "?")
            out.append(f"| MQTT-{n} | {cell} |")
        out.append("")
    return "\n".join(out)


README = pathlib.Path(__file__).resolve().parent / "README.md"
MARK = "<!-- The rest is written by statements.py. -->\n"


def readme():
    head, _, _ = README.read_text().partition(MARK)
    return head + MARK + "\n" + table()


if __name__ == "__main__":
    for line in problems():
        print(line)
    if "--write" in sys.argv:
        README.write_text(readme())
