/* librdkafka in `cargo xtask bench client`: reads every partition of the topic `bench` from its start
 * until it is killed, and tells how many records it has read, with their bytes, at the first one and
 * every so often. Arguments: the bootstrap servers, the number of partitions, and settings as
 * name=value; or `version` alone, which is told.
 *
 * The library comes inside the wheel of confluent-kafka, which has no header, so what is used of it is
 * declared here as its documentation has it. From C, since a Python object for each record would cost
 * more than the library does. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct rd_kafka_topic_partition_list_s rd_kafka_topic_partition_list_t;
typedef struct rd_kafka_topic_partition_s rd_kafka_topic_partition_t;

typedef struct rd_kafka_message_s {
    int err;
    rd_kafka_topic_t *rkt;
    int32_t partition;
    void *payload;
    size_t len;
    void *key;
    size_t key_len;
    int64_t offset;
    void *_private;
} rd_kafka_message_t;

enum { CONSUMER = 1, CONF_OK = 0, PARTITION_EOF = -191 };

extern const char *rd_kafka_version_str(void);
extern rd_kafka_conf_t *rd_kafka_conf_new(void);
extern int rd_kafka_conf_set(rd_kafka_conf_t *, const char *, const char *, char *, size_t);
extern rd_kafka_t *rd_kafka_new(int, rd_kafka_conf_t *, char *, size_t);
extern int rd_kafka_poll_set_consumer(rd_kafka_t *);
extern rd_kafka_topic_partition_list_t *rd_kafka_topic_partition_list_new(int);
extern rd_kafka_topic_partition_t *rd_kafka_topic_partition_list_add(
    rd_kafka_topic_partition_list_t *, const char *, int32_t);
extern int rd_kafka_assign(rd_kafka_t *, const rd_kafka_topic_partition_list_t *);
extern rd_kafka_queue_t *rd_kafka_queue_get_consumer(rd_kafka_t *);
extern ssize_t rd_kafka_consume_batch_queue(
    rd_kafka_queue_t *, int, rd_kafka_message_t **, size_t);
extern void rd_kafka_message_destroy(rd_kafka_message_t *);

static char why[512];

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != CONF_OK) {
        fprintf(stderr, "%s=%s: %s\n", name, value, why);
        exit(1);
    }
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int main(int count, char **arguments) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (count == 2 && strcmp(arguments[1], "version") == 0) {
        puts(rd_kafka_version_str());
        return 0;
    }
    if (count < 3) {
        return 2;
    }
    set(conf, "bootstrap.servers", arguments[1]);
    set(conf, "group.id", "bench");
    set(conf, "enable.auto.commit", "false");
    set(conf, "enable.auto.offset.store", "false");
    set(conf, "check.crcs", "true");
    for (int i = 3; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        *value = '\0';
        set(conf, arguments[i], value + 1);
    }
    rd_kafka_t *consumer = rd_kafka_new(CONSUMER, conf, why, sizeof why);
    if (consumer == NULL) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    rd_kafka_poll_set_consumer(consumer);
    int partitions = atoi(arguments[2]);
    rd_kafka_topic_partition_list_t *assigned = rd_kafka_topic_partition_list_new(partitions);
    for (int32_t i = 0; i < partitions; i++) {
        /* Its offset is the only field behind the name and the number. */
        rd_kafka_topic_partition_t *it =
            rd_kafka_topic_partition_list_add(assigned, "bench", i);
        struct { char *topic; int32_t partition; int64_t offset; } *fields = (void *)it;
        fields->offset = 0;
    }
    if (rd_kafka_assign(consumer, assigned) != 0) {
        fprintf(stderr, "the partitions could not be assigned\n");
        return 1;
    }
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(consumer);
    static rd_kafka_message_t *messages[10000];
    int64_t records = 0, bytes = 0, next = 0;
    for (;;) {
        ssize_t taken = rd_kafka_consume_batch_queue(queue, 100, messages, 10000);
        for (ssize_t i = 0; i < taken; i++) {
            if (messages[i]->err == 0) {
                records++;
                bytes += (int64_t)messages[i]->len;
            } else if (messages[i]->err != PARTITION_EOF) {
                fprintf(stderr, "error %d\n", messages[i]->err);
            }
            rd_kafka_message_destroy(messages[i]);
        }
        int64_t now = now_ms();
        if (records > 0 && now >= next) {
            next = now + 50;
            printf("%lld %lld\n", (long long)records, (long long)bytes);
            fflush(stdout);
        }
    }
}
