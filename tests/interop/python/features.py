"""The commands of the librdkafka peer for the tests of features: topics with properties, records with
their places and times, offsets by time, groups without members. README.md has them."""

import sys
import time

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

BOOTSTRAP = sys.argv[1]
STALL_SECONDS = 30


def settings(command):
    return {"bootstrap.servers": BOOTSTRAP, **command.get("settings", {})}


def first(futures):
    return next(iter(futures.values())).result()


def refusal(work):
    """Has a refusal by the broker be an answer; the test knows which is right."""

    def answer(command):
        try:
            return work(AdminClient(settings(command)), command)
        except KafkaException as problem:
            return {"code": problem.args[0].code()}

    return answer


def create(admin, command):
    topic = NewTopic(
        command["topic"],
        num_partitions=command["partitions"],
        config=command.get("configs", {}),
    )
    first(admin.create_topics([topic]))
    return {}


def delete_topic(admin, command):
    first(admin.delete_topics([command["topic"]]))
    return {}


def alter(admin, command):
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in command["configs"].items()
    ]
    resource = ConfigResource(
        ResourceType.TOPIC, command["topic"], incremental_configs=entries
    )
    first(admin.incremental_alter_configs([resource]))
    return {}


def describe(admin, command):
    resource = ConfigResource(ResourceType.TOPIC, command["topic"])
    entry = first(admin.describe_configs([resource]))[command["key"]]
    return {
        "value": entry.value,
        "source": entry.source,
        "synonyms": sorted(
            ([each.name, each.value, each.source] for each in entry.synonyms.values()),
            key=lambda row: row[2],
        ),
    }


def data(value):
    """A number stands for a text of so many letters."""
    if value is None:
        return None
    return b"x" * value if isinstance(value, int) else value.encode()


def text(value):
    if value is None:
        return None
    return len(value) if len(value) > 100 else value.decode()


def send(_, command):
    throttled = []
    more = {"throttle_cb": throttled.append} if "settings" in command else {}
    producer = Producer({**settings(command), **more})
    results = [None] * len(command["records"])

    def done(index):
        def on_delivery(error, message):
            results[index] = error.code() if error else [message.offset(), message.timestamp()[1]]

        return on_delivery

    for index, (partition, timestamp, key, value) in enumerate(command["records"]):
        more = {} if timestamp is None else {"timestamp": timestamp}
        producer.produce(
            command["topic"],
            partition=partition,
            key=data(key),
            value=data(value),
            on_delivery=done(index),
            **more,
        )
    producer.flush(STALL_SECONDS)
    return {
        "results": results,
        "throttled": any(event.throttle_time > 0 for event in throttled),
    }


def read(_, command):
    consumer = Consumer(
        {
            **settings(command),
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            # A reader that stops at the end need not wait there for long.
            "fetch.wait.max.ms": 50,
        }
    )
    records = []
    try:
        place = TopicPartition(command["topic"], command["partition"], command["from"])
        consumer.assign([place])
        deadline = time.monotonic() + STALL_SECONDS
        while True:
            message = consumer.poll(0.2)
            if time.monotonic() > deadline:
                raise RuntimeError(f"no end for {STALL_SECONDS} s")
            if message is None:
                continue
            if message.error():
                # The end of the partition, which is what is waited for.
                if message.error().code() == -191:
                    return {"records": records}
                raise KafkaException(message.error())
            kind, timestamp = message.timestamp()
            name = "CreateTime" if kind == TIMESTAMP_CREATE_TIME else "LogAppendTime"
            row = [message.offset(), timestamp, name, text(message.key()), text(message.value())]
            records.append(row)
    finally:
        consumer.close()


def delete_records(admin, command):
    place = TopicPartition(command["topic"], command["partition"], command["before"])
    return {"low": first(admin.delete_records([place])).low_watermark}


def list_offsets(admin, command):
    at = command["at"]
    specs = {
        "earliest": OffsetSpec.earliest,
        "latest": OffsetSpec.latest,
        "max": OffsetSpec.max_timestamp,
    }
    spec = specs[at]() if isinstance(at, str) else OffsetSpec.for_timestamp(at)
    place = TopicPartition(command["topic"], command["partition"])
    found = first(
        admin.list_offsets({place: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    )
    return {"offset": found.offset, "timestamp": found.timestamp}


def commit(admin, command):
    place = TopicPartition(
        command["topic"],
        command["partition"],
        command["offset"],
        data(command["metadata"]).decode(),
    )
    group = ConsumerGroupTopicPartitions(command["group"], [place])
    for partition in first(admin.alter_consumer_group_offsets([group])).topic_partitions:
        if partition.error:
            raise KafkaException(partition.error)
    return {}


def committed(admin, command):
    group = ConsumerGroupTopicPartitions(command["group"])
    found = first(admin.list_consumer_group_offsets([group])).topic_partitions
    rows = [
        [each.topic, each.partition, each.offset, text((each.metadata or "").encode())]
        for each in found
    ]
    return {"offsets": sorted(rows)}


COMMANDS = {
    "topic.create": refusal(create),
    "topic.delete": refusal(delete_topic),
    "configs.alter": refusal(alter),
    "configs.describe": refusal(describe),
    "records.send": refusal(send),
    "records.read": refusal(read),
    "records.delete": refusal(delete_records),
    "offsets.list": refusal(list_offsets),
    "offsets.commit": refusal(commit),
    "offsets.committed": refusal(committed),
}
