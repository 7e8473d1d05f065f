"""How a script talks to the program that started it: one JSON object comes in on stdin, JSON objects go out on stdout, one a line.

Native libraries print too. What they say to stdout goes to stderr, so that lines stay lines.
"""
import json
import os
import sys

_answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)


def request():
    return json.load(sys.stdin)


def answer(kind, **facts):
    """`kind`: progress, any number of times; then result or, where a model is at fault, refused."""
    _answers.write(json.dumps({"kind": kind, **facts}) + "\n")
    _answers.flush()
