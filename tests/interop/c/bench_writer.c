/* librdkafka in `cargo xtask bench client`: writes the values of a file to the topic `bench`, over and
 * over, as fast as it is let, until it is killed, and tells how many records were acknowledged, with their
 * bytes, at the first one and every so often. Arguments: the bootstrap servers, the file, the bytes of a
 * value, and settings as name=value. What is used of the library is declared here: see bench_reader.c. */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_topic_conf_s rd_kafka_topic_conf_t;

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

enum { PRODUCER = 0, CONF_OK = 0, ANY_PARTITION = -1, COPY = 2, SENDS_BETWEEN_LOOKS = 256 };

extern rd_kafka_conf_t *rd_kafka_conf_new(void);
extern int rd_kafka_conf_set(rd_kafka_conf_t *, const char *, const char *, char *, size_t);
extern void rd_kafka_conf_set_dr_msg_cb(
    rd_kafka_conf_t *, void (*)(rd_kafka_t *, const rd_kafka_message_t *, void *));
extern rd_kafka_t *rd_kafka_new(int, rd_kafka_conf_t *, char *, size_t);
extern rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *, const char *, rd_kafka_topic_conf_t *);
extern int rd_kafka_produce(
    rd_kafka_topic_t *, int32_t, int, void *, size_t, const void *, size_t, void *);
extern int rd_kafka_poll(rd_kafka_t *, int);

static char why[512];
static int64_t acknowledged;

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client;
    (void)opaque;
    if (message->err != 0) {
        fprintf(stderr, "error %d\n", message->err);
        exit(1);
    }
    acknowledged++;
}

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
    if (count < 4) {
        return 2;
    }
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", arguments[1]);
    for (int i = 4; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        *value = '\0';
        set(conf, arguments[i], value + 1);
    }
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *producer = rd_kafka_new(PRODUCER, conf, why, sizeof why);
    if (producer == NULL) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    rd_kafka_topic_t *topic = rd_kafka_topic_new(producer, "bench", NULL);
    size_t size = (size_t)atoi(arguments[3]);
    FILE *file = fopen(arguments[2], "rb");
    if (topic == NULL || file == NULL || size == 0) {
        fprintf(stderr, "no topic or no file\n");
        return 1;
    }
    fseek(file, 0, SEEK_END);
    size_t values = (size_t)ftell(file) / size;
    rewind(file);
    char *bytes = malloc(values * size);
    if (bytes == NULL || fread(bytes, size, values, file) != values) {
        fprintf(stderr, "the file could not be read\n");
        return 1;
    }
    int64_t next = 0;
    for (size_t turn = 0;; turn = turn + 1 == values ? 0 : turn + 1) {
        while (rd_kafka_produce(
                   topic, ANY_PARTITION, COPY, bytes + turn * size, size, NULL, 0, NULL) != 0) {
            if (errno != ENOBUFS) {
                fprintf(stderr, "a record was refused: %s\n", strerror(errno));
                return 1;
            }
            rd_kafka_poll(producer, 10);
        }
        if (turn % SENDS_BETWEEN_LOOKS != 0) {
            continue;
        }
        rd_kafka_poll(producer, 0);
        int64_t now = now_ms();
        if (acknowledged > 0 && now >= next) {
            next = now + 50;
            printf("%lld %lld\n", (long long)acknowledged, (long long)acknowledged * (long long)size);
            fflush(stdout);
        }
    }
}
