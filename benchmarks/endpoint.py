"""How well a server that answers many at once is kept busy, and what the framework itself takes.

Starts a server that answers every request after a fixed latency, in another process, with the action that
the prompt asks for, and lets a rule talk through it: every turn takes a reading, the facts and the words.

- throughput: requests answered in a second, against the ideal of ``concurrency / latency``;
- overhead: processor time of this process for each turn: the framework's, and the ``openai`` package's.

    python benchmarks/endpoint.py --dialogues 1000 --concurrency 64 --latency 0.2
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

from unicrs_rl.experiments.compare import compare
from unicrs_rl.experiments.config import resolve

PLANNED = re.compile(r"(?:in this order|Ask about exactly): (\[.*\])")
FREE = re.compile(r"Candidate (items|attributes), best first: (\[.+\])")


def answer(task: str, prompt: str) -> dict[str, object]:
    """What a model that does as it is told would answer."""
    if task == "preference_reasoner":
        # Different in every conversation, so that no prompt was answered before.
        return {"summary": f"The seeker wants number {zlib.crc32(prompt.encode())}.", "mood": "neutral"}
    if task == "fact_retriever":
        return {"chosen": [0]}
    if task == "judge":
        return {"score": 3, "reason": "It went on."}
    planned = PLANNED.search(prompt)
    names = json.loads(planned[1]) if planned else []
    act = "recommend" if "decided to recommend" in prompt else "ask" if "decided to ask" in prompt else "chat"
    kind = {"recommend": "items", "ask": "attributes"}.get(act)
    strategy = {} if "Speak with this strategy" in prompt else {"strategy": "Personal Opinion"}
    said = "What do you think of that one, would it be something for you?"
    return {"act": act, "utterance": said, **strategy, **({kind: names} if kind else {})}


async def serve(latency: float) -> None:
    """Answer until killed; prints the port first."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().casefold()
                size = re.search(r"content-length: (\d+)", head)
                body = json.loads(await reader.readexactly(int(size[1]))) if size else {}
                reply = {"object": "list", "data": []}
                if "chat/completions" in head:
                    task = body["response_format"]["json_schema"]["name"]
                    prompt = body["messages"][0]["content"]
                    text = json.dumps(answer(task, prompt))
                    message = {"role": "assistant", "content": text}
                    choice = {"finish_reason": "stop", "message": message}
                    used = {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(text) // 4}
                    choices = [{"index": index, **choice} for index in range(body.get("n") or 1)]
                    reply = {"object": "chat.completion", "choices": choices, "usage": used}
                    await asyncio.sleep(latency)
                whole = json.dumps(reply).encode()
                start = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
                writer.write(f"{start}{len(whole)}\r\n\r\n".encode() + whole)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def client_seconds() -> float:
    """Processor time of the threads in which the ``openai`` package talks to the server."""
    clients = [thread for thread in threading.enumerate() if thread.name == "language model"]
    return sum(
        time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) for thread in clients if thread.ident
    )


def measure(port: int, arguments: argparse.Namespace) -> dict[str, float]:
    """One evaluation through the server."""
    url = f"http://127.0.0.1:{port}/v1"
    model = {"model": "fixed", "base_url": url, "concurrency": arguments.concurrency}
    config = resolve(
        {
            "arms": (arguments.arm,),
            "seeds": (0,),
            "llm": "openai",
            "dialogues": arguments.dialogues,
            "language_model": model,
            "recommend_above": 0.3,
            "embeddings": {"epochs": 1},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        started = {"cpu": 0.0}

        def begin(what: str, *_: int) -> None:
            if what == "node embeddings":  # what comes before the evaluation does not count
                started.update(cpu=time.process_time())

        found, timings = compare(config, Path(folder) / "run", progress=begin)
        cpu, client = time.process_time() - started["cpu"], client_seconds()
        wall = timings["jobs"][f"{arguments.arm}-seed0"]["evaluate_seconds"]
        entry = found["arms"][arguments.arm]
        lines = (Path(folder) / "run" / "traces.jsonl").read_text().splitlines()
        turns = sum(len(json.loads(line)["turns"]) for line in lines)
    calls = sum(task["calls"] for task in timings["spent"][arguments.arm].values())
    ideal = arguments.concurrency / arguments.latency if arguments.latency else float("inf")
    return {
        "seconds": wall,
        "calls": calls,
        "turns": turns,
        "calls_per_second": calls / wall,
        "share_of_ideal": calls / wall / ideal,
        "framework_ms_per_turn": 1000 * (cpu - client) / turns,
        "client_ms_per_turn": 1000 * client / turns,
        "failed_calls": entry["cost"]["failed_calls"],
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--dialogues", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--arm", default="max-entropy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.latency))
        return
    command = [sys.executable, __file__, "--serve", "--latency", str(arguments.latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            rounds = [measure(port, arguments) for _ in range(arguments.repeats)]
        finally:
            server.kill()
    print(json.dumps({name: statistics.median(one[name] for one in rounds) for name in rounds[0]}, indent=1))


if __name__ == "__main__":
    main()
