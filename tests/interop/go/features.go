// The commands of the franz-go peer for the tests of features: topics with properties, records with
// their places and times, offsets by time, groups without members. README.md has them.
package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// A reader that stops at the end need not wait there for long.
const shortWait = 50 * time.Millisecond

func feature(c command) (fields, error) {
	work, ok := map[string]func(command) (fields, error){
		"topic.create":      createWith,
		"topic.delete":      deleteTopic,
		"configs.alter":     alterConfigs,
		"configs.describe":  describeConfigs,
		"records.send":      send,
		"records.read":      read,
		"records.delete":    deleteRecords,
		"records.batches":   batches,
		"offsets.list":      listOffsets,
		"offsets.commit":    commit,
		"offsets.keep":      commitForAWhile,
		"offsets.committed": committedAll,
	}[c.Cmd]
	if !ok {
		return nil, fmt.Errorf("unknown command %q", c.Cmd)
	}
	answer, err := work(c)
	// A refusal by the broker is an answer; the test knows which is right.
	if code := code(err); code != 0 {
		return fields{"code": code}, nil
	}
	return answer, err
}

func code(err error) int16 {
	var refusal *kerr.Error
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return 0
}

// Runs a piece of work with an admin client that lives as long.
func withAdmin(work func(context.Context, *kadm.Client) (fields, error)) (fields, error) {
	cl, err := client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), stall)
	defer cancel()
	return work(ctx, kadm.NewClient(cl))
}

func createWith(c command) (fields, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (fields, error) {
		configs := map[string]*string{}
		for name, value := range c.Configs {
			configs[name] = &value
		}
		_, err := admin.CreateTopic(ctx, c.Partitions, 1, configs, c.Topic)
		return fields{}, err
	})
}

func deleteTopic(c command) (fields, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (fields, error) {
		_, err := admin.DeleteTopic(ctx, c.Topic)
		return fields{}, err
	})
}

func alterConfigs(c command) (fields, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (fields, error) {
		var set []kadm.AlterConfig
		for name, value := range c.Configs {
			set = append(set, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
		}
		altered, err := admin.AlterTopicConfigs(ctx, set, c.Topic)
		for _, each := range altered {
			err = errors.Join(err, each.Err)
		}
		return fields{}, err
	})
}

func describeConfigs(c command) (fields, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (fields, error) {
		described, err := admin.DescribeTopicConfigs(ctx, c.Topic)
		if err != nil {
			return nil, err
		}
		topic, err := described.On(c.Topic, nil)
		if err != nil {
			return nil, err
		}
		for _, config := range topic.Configs {
			if config.Key != c.Key {
				continue
			}
			synonyms := [][3]any{}
			for _, synonym := range config.Synonyms {
				synonyms = append(synonyms, [3]any{synonym.Key, synonym.Value, int8(synonym.Source)})
			}
			return fields{"value": config.Value, "source": int8(config.Source), "synonyms": synonyms}, nil
		}
		return nil, fmt.Errorf("no property %q", c.Key)
	})
}

// Returns the options for properties that go by Kafka's names.
func options(settings map[string]string) ([]kgo.Opt, error) {
	var out []kgo.Opt
	for name, value := range settings {
		number, _ := strconv.Atoi(value)
		switch name {
		case "client.id":
			out = append(out, kgo.ClientID(value))
		case "compression.type":
			out = append(out, kgo.ProducerBatchCompression(codec(value)))
		case "linger.ms":
			out = append(out, kgo.ProducerLinger(time.Duration(number)*time.Millisecond))
		case "acks":
			acks := map[string]kgo.Acks{"all": kgo.AllISRAcks(), "1": kgo.LeaderAck()}[value]
			out = append(out, kgo.RequiredAcks(acks))
		case "enable.idempotence":
			out = append(out, kgo.DisableIdempotentWrite())
		case "retries":
			out = append(out, kgo.RecordRetries(max(number, 1)))
		case "max.partition.fetch.bytes":
			out = append(out, kgo.FetchMaxPartitionBytes(int32(number)))
		default:
			return nil, fmt.Errorf("no option for %s", name)
		}
	}
	return out, nil
}

// Notices whether a broker asked for patience.
type throttles struct {
	mutex sync.Mutex
	any   bool
}

func (t *throttles) OnBrokerThrottle(_ kgo.BrokerMetadata, interval time.Duration, _ bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.any = t.any || interval > 0
}

// A number stands for a text of so many letters.
func data(value any) []byte {
	switch value := value.(type) {
	case string:
		return []byte(value)
	case float64:
		return []byte(strings.Repeat("x", int(value)))
	}
	return nil
}

func text(value []byte) any {
	switch {
	case value == nil:
		return nil
	case len(value) > 100:
		return len(value)
	}
	return string(value)
}

func send(c command) (fields, error) {
	throttled := &throttles{}
	more, err := options(c.Settings)
	if err != nil {
		return nil, err
	}
	more = append(more, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.WithHooks(throttled))
	if _, named := c.Settings["compression.type"]; !named {
		// As the other clients do: the tests count bytes.
		more = append(more, kgo.ProducerBatchCompression(kgo.NoCompression()))
	}
	cl, err := client(more...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), stall)
	defer cancel()
	results := make([]any, len(c.Records))
	for index, row := range c.Records {
		record := &kgo.Record{Topic: c.Topic, Key: data(row[2]), Value: data(row[3])}
		record.Partition = int32(row[0].(float64))
		if timestamp, ok := row[1].(float64); ok {
			record.Timestamp = time.UnixMilli(int64(timestamp))
		}
		cl.Produce(ctx, record, func(done *kgo.Record, err error) {
			if code := code(err); code != 0 {
				results[index] = code
			} else if err == nil {
				results[index] = []int64{done.Offset, done.Timestamp.UnixMilli()}
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return nil, err
	}
	throttled.mutex.Lock()
	defer throttled.mutex.Unlock()
	return fields{"results": results, "throttled": throttled.any}, nil
}

// Reads a partition from an offset to its end.
func readAll(c command, from int64, settings map[string]string, each func(*kgo.Record), hooks ...kgo.Hook) error {
	more, err := options(settings)
	if err != nil {
		return err
	}
	start := map[int32]kgo.Offset{c.Partition: kgo.NewOffset().At(from)}
	more = append(more,
		kgo.FetchMaxWait(shortWait),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: start}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.WithHooks(hooks...))
	cl, err := client(more...)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), stall)
	defer cancel()
	listed, err := kadm.NewClient(cl).ListEndOffsets(ctx, c.Topic)
	if err != nil {
		return err
	}
	end, ok := listed.Lookup(c.Topic, c.Partition)
	if !ok || end.Err != nil {
		return fmt.Errorf("no end of %s-%d: %w", c.Topic, c.Partition, end.Err)
	}
	starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, c.Topic)
	if err != nil {
		return err
	}
	begin, _ := starts.Lookup(c.Topic, c.Partition)
	for last := max(from, begin.Offset) - 1; last+1 < end.Offset; {
		fetched := cl.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			return err
		}
		fetched.EachRecord(func(record *kgo.Record) {
			last = record.Offset
			each(record)
		})
	}
	return nil
}

func read(c command) (fields, error) {
	records := [][5]any{}
	err := readAll(c, c.From, c.Settings, func(record *kgo.Record) {
		kind := map[int8]string{0: "CreateTime", 1: "LogAppendTime"}[record.Attrs.TimestampType()]
		records = append(records, [5]any{
			record.Offset, record.Timestamp.UnixMilli(), kind, text(record.Key), text(record.Value),
		})
	})
	return fields{"records": records}, err
}

// Notes the codec of each batch that arrives.
type codecs struct {
	mutex sync.Mutex
	seen  []string
}

func (c *codecs) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, batch kgo.FetchBatchMetrics) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	names := map[uint8]string{0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
	c.seen = append(c.seen, names[batch.CompressionType])
}

func batches(c command) (fields, error) {
	noted := &codecs{}
	err := readAll(c, 0, nil, func(*kgo.Record) {}, noted)
	noted.mutex.Lock()
	defer noted.mutex.Unlock()
	return fields{"codecs": noted.seen}, err
}

func deleteRecords(c command) (fields, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (fields, error) {
		var before kadm.Offsets
		before.AddOffset(c.Topic, c.Partition, c.Before, -1)
		deleted, err := admin.DeleteRecords(ctx, before)
		if err != nil {
			return nil, err
		}
		found, _ := deleted.Lookup(c.Topic, c.Partition)
		return fields{"low": found.LowWatermark}, found.Err
	})
}

func listOffsets(c command) (fields, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (fields, error) {
		var listed kadm.ListedOffsets
		var err error
		switch at := c.At.(type) {
		case float64:
			listed, err = admin.ListOffsetsAfterMilli(ctx, int64(at), c.Topic)
		case string:
			list := map[string]func(context.Context, ...string) (kadm.ListedOffsets, error){
				"earliest": admin.ListStartOffsets,
				"latest":   admin.ListEndOffsets,
				"max":      admin.ListMaxTimestampOffsets,
			}[at]
			listed, err = list(ctx, c.Topic)
		}
		if err != nil {
			return nil, err
		}
		found, _ := listed.Lookup(c.Topic, c.Partition)
		return fields{"offset": found.Offset, "timestamp": found.Timestamp}, found.Err
	})
}

func commit(c command) (fields, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (fields, error) {
		var offsets kadm.Offsets
		offsets.Add(kadm.Offset{
			Topic: c.Topic, Partition: c.Partition, At: c.Offset, LeaderEpoch: -1,
			Metadata: string(data(c.Metadata)),
		})
		committed, err := admin.CommitOffsets(ctx, c.Group, offsets)
		return fields{}, errors.Join(err, committed.Error())
	})
}

// Commits as clients did that said how long an offset is to be kept: version 2 of the request.
func commitForAWhile(c command) (fields, error) {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.OffsetCommit), 2)
	cl, err := client(kgo.MaxVersions(versions))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	request := kmsg.NewOffsetCommitRequest()
	request.Group = c.Group
	request.Generation = -1
	request.RetentionTimeMillis = c.KeepMS
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = c.Topic
	partition := kmsg.NewOffsetCommitRequestTopicPartition()
	partition.Partition, partition.Offset = c.Partition, c.Offset
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	answer, err := request.RequestWith(context.Background(), cl)
	if err != nil {
		return nil, err
	}
	return fields{}, kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
}

func committedAll(c command) (fields, error) {
	return withAdmin(func(ctx context.Context, admin *kadm.Client) (fields, error) {
		found, err := admin.FetchOffsets(ctx, c.Group)
		rows := [][4]any{}
		for _, offset := range found.Sorted() {
			rows = append(rows, [4]any{
				offset.Topic, offset.Partition, offset.At, text([]byte(offset.Metadata)),
			})
		}
		sort.SliceStable(rows, func(a, b int) bool { return rows[a][0].(string) < rows[b][0].(string) })
		return fields{"offsets": rows}, err
	})
}
