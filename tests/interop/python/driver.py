"""The librdkafka peer (confluent-kafka), told what to do by JSON lines on stdin, answering by JSON
lines on stdout. tests/interop/README.md has the commands and events; Driver.java and main.go speak
the same."""

import hashlib
import json
import os
import struct
import sys
import threading
import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    Producer,
    TopicPartition,
    __version__,
    libversion,
)
from confluent_kafka.admin import AdminClient, NewTopic

import features

BOOTSTRAP = sys.argv[1]
STALL_SECONDS = 30
LOAD_IN_FLIGHT = 200
LOAD_PAUSE_SECONDS = 0.0005
LOAD_REPORT_SECONDS = 0.02
MASK = (1 << 64) - 1

wire = threading.Lock()
members = {}
loads = {}


def say(line):
    with wire:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def mix(seed):
    z = (seed + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def sample(seed, i):
    """The i-th record of a seed: the same bytes in every driver and in the harness."""
    x = mix((seed * 1_000_003 + i) & MASK)
    key = None if i % 10 == 0 else b"key-%d" % ((x >> 32) % 17)
    value = None
    if i % 13 != 5:
        length = 20_000 if i % 50 == 7 else x & 0xFF
        if (x >> 8) & 1:
            value = bytes(97 + j % 7 for j in range(length))
        else:
            value = bytes(mix(x + j) & 0xFF for j in range(length))
    headers = [
        [],
        [("trace", b"%d" % i)],
        [("twice", b"1"), ("twice", None)],
        [("empty", b"")],
    ][i % 4]
    return key, value, headers


class Tally:
    """Counts and digests the records of one partition in the order they were read."""

    def __init__(self):
        self.count = 0
        self.digest = hashlib.sha256()

    def add(self, message):
        self.count += 1
        self.digest.update(struct.pack(">qq", message.offset(), message.timestamp()[1]))
        self.field(message.key())
        self.field(message.value())
        headers = message.headers() or []
        self.digest.update(struct.pack(">i", len(headers)))
        for name, value in headers:
            self.field(name.encode())
            self.field(value)

    def field(self, data):
        self.digest.update(struct.pack(">i", -1 if data is None else len(data)))
        if data is not None:
            self.digest.update(data)


def settings(**more):
    return {"bootstrap.servers": BOOTSTRAP, **more}


def create(command):
    topic = NewTopic(command["topic"], num_partitions=command["partitions"])
    # The futures do not keep the client alive: this name does.
    admin = AdminClient(settings())
    for future in admin.create_topics([topic]).values():
        future.result()
    return {}


def produce(command):
    producer = Producer(settings(**{"compression.type": command["codec"]}))
    problems = []
    acked = []

    def done(error, message):
        (problems if error else acked).append(error)

    for i in range(command["from"], command["from"] + command["count"]):
        key, value, headers = sample(command["seed"], i)
        producer.produce(
            command["topic"],
            key=key,
            value=value,
            headers=headers,
            partition=i % command["partitions"],
            timestamp=command["base_ts"] + i,
            on_delivery=done,
        )
        producer.poll(0)
    left = producer.flush(STALL_SECONDS)
    if problems or left or len(acked) != command["count"]:
        raise RuntimeError(f"{len(acked)} acked, {left} left, {problems[:3]}")
    return {}


def partitions(command, offset=None):
    count = range(command["partitions"])
    if offset is None:
        return [TopicPartition(command["topic"], index) for index in count]
    return [TopicPartition(command["topic"], index, offset) for index in count]


def consume(command):
    wanted = partitions(command, OFFSET_BEGINNING)
    tallies = [Tally() for _ in wanted]
    seen = []
    # librdkafka wants a group id even from a consumer that never joins one.
    consumer = Consumer(settings(**{"group.id": "unused", "enable.auto.commit": False}))
    try:
        ends = [consumer.get_watermark_offsets(partition, timeout=30)[1] for partition in wanted]
        missing = {index for index, end in enumerate(ends) if end > 0}
        consumer.assign(wanted)
        deadline = time.monotonic() + STALL_SECONDS
        while missing:
            message = consumer.poll(0.2)
            if time.monotonic() > deadline:
                raise RuntimeError(f"no record for {STALL_SECONDS} s, ends {ends}")
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            deadline = time.monotonic() + STALL_SECONDS
            tallies[message.partition()].add(message)
            if command.get("values"):
                seen.append([message.partition(), message.offset(), int(message.value())])
            if message.offset() + 1 >= ends[message.partition()]:
                missing.discard(message.partition())
    finally:
        consumer.close()
    answer = {
        "partitions": [
            {"count": tally.count, "sha256": tally.digest.hexdigest()} for tally in tallies
        ]
    }
    if command.get("values"):
        answer["records"] = seen
    return answer


def committed(command):
    consumer = Consumer(settings(**{"group.id": command["group"]}))
    try:
        found = consumer.committed(partitions(command), timeout=30)
    finally:
        consumer.close()
    for partition in found:
        if partition.error:
            raise KafkaException(partition.error)
    return {"offsets": [max(partition.offset, -1) for partition in found]}


class Member(threading.Thread):
    """One member of a group: reads, reports, commits what it reported, until told to leave."""

    def __init__(self, command):
        super().__init__(daemon=True)
        self.name = command["member"]
        self.topic = command["topic"]
        self.leaving = threading.Event()
        self.batch = []
        more = {
            "group.id": command["group"],
            "client.id": self.name,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
        if "session_ms" in command:
            more["session.timeout.ms"] = command["session_ms"]
        more.update(command.get("settings", {}))
        # Whether the client commits by itself.
        self.automatic = more["enable.auto.commit"] in (True, "true")
        # librdkafka takes a topic that begins with ^ for a pattern.
        self.wanted = command.get("regex", self.topic)
        self.consumer = Consumer(settings(**more))

    def run(self):
        try:
            self.consumer.subscribe(
                [self.wanted],
                on_assign=lambda _, given: self.tell("assigned", given),
                on_revoke=self.revoked,
                on_lost=lambda _, gone: self.tell("lost", gone),
            )
            while not self.leaving.is_set():
                # A poll may run a callback that takes partitions away: it settles the batch first.
                message = self.consumer.poll(0 if self.batch else 0.1)
                if message is None:
                    self.settle()
                elif message.error():
                    self.event("warned", error=str(message.error()))
                else:
                    self.batch.append(message)
                    if len(self.batch) >= 500:
                        self.settle()
            self.settle()
            self.consumer.close()
        except Exception as problem:  # the harness must hear of whatever it is
            self.event("failed", error=repr(problem))

    def revoked(self, _, gone):
        self.settle()
        self.tell("revoked", gone)

    def settle(self):
        """Tells of the records at hand and commits behind them."""
        if not self.batch:
            return
        batch, self.batch = self.batch, []
        self.event("records", records=[[m.partition(), m.offset()] for m in batch])
        if self.automatic:
            return
        positions = {m.partition(): m.offset() + 1 for m in batch}
        topics = {m.partition(): m.topic() for m in batch}
        try:
            self.consumer.commit(
                offsets=[TopicPartition(topics[p], p, o) for p, o in positions.items()],
                asynchronous=False,
            )
            self.event("committed", offsets=[[p, o] for p, o in positions.items()])
        except KafkaException as problem:
            self.event("commit_failed", error=str(problem))

    def event(self, kind, **fields):
        say({"event": kind, "member": self.name, **fields})

    def tell(self, kind, given):
        self.event(kind, partitions=sorted(partition.partition for partition in given))

    def finish(self):
        self.leaving.set()
        self.join()


class Load(threading.Thread):
    """A producer at work until told to stop: the n-th record's value is n, in decimal."""

    def __init__(self, command):
        super().__init__(daemon=True)
        self.name = command["load"]
        self.topic = command["topic"]
        self.partitions = command["partitions"]
        self.producer = Producer(settings(**{"enable.idempotence": True}))
        self.stopping = threading.Event()
        self.acked = []
        self.sent = 0

    def run(self):
        told = time.monotonic()
        while not self.stopping.is_set():
            if len(self.producer) < LOAD_IN_FLIGHT:
                self.send(self.sent)
                self.sent += 1
            self.producer.poll(0)
            time.sleep(LOAD_PAUSE_SECONDS)
            if time.monotonic() - told > LOAD_REPORT_SECONDS:
                told = time.monotonic()
                self.report()
        self.producer.flush(STALL_SECONDS)
        self.report()

    def send(self, seq):
        def done(error, message):
            if error:
                say({"event": "failed", "load": self.name, "seq": seq, "error": str(error)})
            else:
                self.acked.append([message.partition(), message.offset(), seq])

        partition = seq % self.partitions
        self.producer.produce(self.topic, b"%d" % seq, partition=partition, on_delivery=done)

    def report(self):
        acked, self.acked = self.acked, []
        say({"event": "acked", "load": self.name, "records": acked})

    def finish(self):
        self.stopping.set()
        self.join()
        return self.sent


def version(_):
    return {"version": f"{libversion()[0]} (confluent-kafka {__version__})"}


def start_member(command):
    member = Member(command)
    members[member.name] = member
    member.start()
    return {}


def stop_member(command):
    members.pop(command["member"]).finish()
    return {}


def start_load(command):
    load = Load(command)
    loads[load.name] = load
    load.start()
    return {}


def stop_load(command):
    return {"sent": loads.pop(command["load"]).finish()}


COMMANDS = {
    "version": version,
    "create": create,
    "produce": produce,
    "consume": consume,
    "committed": committed,
    "member.start": start_member,
    "member.stop": stop_member,
    "load.start": start_load,
    "load.stop": stop_load,
    **features.COMMANDS,
}

for line in sys.stdin:
    request = json.loads(line)
    try:
        say({"id": request["id"], "ok": COMMANDS[request["cmd"]](request)})
    except Exception as problem:  # the harness must hear of whatever it is
        say({"id": request["id"], "error": repr(problem)})
# The harness closed our stdin: it is gone or done with us, and members need no farewell.
os._exit(0)
