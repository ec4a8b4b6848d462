// The franz-go peer, told what to do by JSON lines on stdin, answering by JSON lines on stdout.
// tests/interop/README.md has the commands and events; Driver.java and driver.py speak the same.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"runtime/debug"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	stall        = 30 * time.Second
	loadInFlight = 200
	loadPause    = 500 * time.Microsecond
	loadReport   = 20 * time.Millisecond
)

type command struct {
	ID         int64  `json:"id"`
	Cmd        string `json:"cmd"`
	Topic      string `json:"topic"`
	Partitions int32  `json:"partitions"`
	Seed       uint64 `json:"seed"`
	From       int64  `json:"from"`
	Count      int64  `json:"count"`
	Codec      string `json:"codec"`
	BaseTS     int64  `json:"base_ts"`
	Values     bool   `json:"values"`
	Group      string `json:"group"`
	Member     string `json:"member"`
	SessionMS  int64  `json:"session_ms"`
	Regex      string `json:"regex"`
	Load       string `json:"load"`
	Size       int    `json:"size"`

	// The fields of the commands in features.go.
	Partition int32             `json:"partition"`
	Configs   map[string]string `json:"configs"`
	Settings  map[string]string `json:"settings"`
	Records   [][4]any          `json:"records"`
	Before    int64             `json:"before"`
	Key       string            `json:"key"`
	At        any               `json:"at"`
	Offset    int64             `json:"offset"`
	Metadata  any               `json:"metadata"`
	KeepMS    int64             `json:"keep_ms"`
}

type fields map[string]any

var (
	bootstrap = os.Args[1]
	wire      sync.Mutex
	members   = map[string]*member{}
	loads     = map[string]*load{}
)

func main() {
	if os.Args[1] == "bench-reader" {
		benchReader(os.Args[2:])
		return
	}
	if os.Args[1] == "bench-writer" {
		benchWriter(os.Args[2:])
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			panic(err)
		}
		answer, err := run(c)
		if err != nil {
			say(fields{"id": c.ID, "error": err.Error()})
		} else {
			say(fields{"id": c.ID, "ok": answer})
		}
	}
	// The harness closed our stdin: it is gone or done with us, and members need no farewell.
}

func say(line fields) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	wire.Lock()
	defer wire.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

func run(c command) (fields, error) {
	switch c.Cmd {
	case "version":
		return version()
	case "create":
		return create(c)
	case "produce":
		return produce(c)
	case "consume":
		return consume(c)
	case "committed":
		return committed(c)
	case "member.start":
		return startMember(c)
	case "member.stop":
		members[c.Member].finish()
		delete(members, c.Member)
		return fields{}, nil
	case "load.start":
		return startLoad(c)
	case "load.stop":
		sent := loads[c.Load].finish()
		delete(loads, c.Load)
		return fields{"sent": sent}, nil
	case "bench.produce":
		return benchProduce(c)
	case "bench.consume":
		return benchConsume(c)
	}
	return feature(c)
}

func version() (fields, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("built without module information")
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/twmb/franz-go" {
			return fields{"version": module.Version}, nil
		}
	}
	return nil, errors.New("built without franz-go")
}

func client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options, kgo.SeedBrokers(bootstrap))...)
}

func create(c command) (fields, error) {
	cl, err := client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	answer, err := kadm.NewClient(cl).CreateTopic(context.Background(), c.Partitions, 1, nil, c.Topic)
	if err != nil {
		return nil, err
	}
	return fields{}, answer.Err
}

func codec(name string) kgo.CompressionCodec {
	switch name {
	case "gzip":
		return kgo.GzipCompression()
	case "snappy":
		return kgo.SnappyCompression()
	case "lz4":
		return kgo.Lz4Compression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	return kgo.NoCompression()
}

func produce(c command) (fields, error) {
	cl, err := client(
		kgo.ProducerBatchCompression(codec(c.Codec)),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), stall)
	defer cancel()
	var records []*kgo.Record
	for i := c.From; i < c.From+c.Count; i++ {
		record := sample(c.Seed, i)
		record.Topic = c.Topic
		record.Partition = int32(i % int64(c.Partitions))
		record.Timestamp = time.UnixMilli(c.BaseTS + i)
		records = append(records, record)
	}
	return fields{}, cl.ProduceSync(ctx, records...).FirstErr()
}

func consume(c command) (fields, error) {
	start := map[int32]kgo.Offset{}
	tallies := make([]tally, c.Partitions)
	for index := range tallies {
		tallies[index].digest = sha256.New()
		start[int32(index)] = kgo.NewOffset().AtStart()
	}
	cl, err := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: start}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	listed, err := kadm.NewClient(cl).ListEndOffsets(context.Background(), c.Topic)
	if err != nil {
		return nil, err
	}
	missing := map[int32]bool{}
	ends := make([]int64, c.Partitions)
	listed.Each(func(end kadm.ListedOffset) {
		err = errors.Join(err, end.Err)
		ends[end.Partition] = end.Offset
		if end.Offset > 0 {
			missing[end.Partition] = true
		}
	})
	if err != nil {
		return nil, err
	}
	seen := [][3]int64{}
	for len(missing) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), stall)
		fetched := cl.PollFetches(ctx)
		cancel()
		if err := fetched.Err(); err != nil {
			return nil, fmt.Errorf("%w, ends %v", err, ends)
		}
		fetched.EachRecord(func(record *kgo.Record) {
			tallies[record.Partition].add(record)
			if c.Values {
				seq, _ := strconv.ParseInt(string(record.Value), 10, 64)
				seen = append(seen, [3]int64{int64(record.Partition), record.Offset, seq})
			}
			if record.Offset+1 >= ends[record.Partition] {
				delete(missing, record.Partition)
			}
		})
	}
	digests := []fields{}
	for index := range tallies {
		digests = append(digests, tallies[index].finish())
	}
	answer := fields{"partitions": digests}
	if c.Values {
		answer["records"] = seen
	}
	return answer, nil
}

func committed(c command) (fields, error) {
	cl, err := client()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	found, err := kadm.NewClient(cl).FetchOffsets(context.Background(), c.Group)
	if err != nil {
		return nil, err
	}
	offsets := make([]int64, c.Partitions)
	for index := range offsets {
		offsets[index] = -1
		if offset, ok := found.Lookup(c.Topic, int32(index)); ok {
			offsets[index] = offset.At
		}
	}
	return fields{"offsets": offsets}, nil
}

// A member of a group: reads, reports, commits what it reported, until told to leave.
type member struct {
	name   string
	client *kgo.Client
	// Whether the client commits by itself.
	automatic bool
	leaving   context.CancelFunc
	left      chan struct{}
}

func startMember(c command) (fields, error) {
	automatic := c.Settings["enable.auto.commit"] == "true"
	m := &member{name: c.Member, automatic: automatic, left: make(chan struct{})}
	tell := func(kind string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
			indexes := append([]int32{}, given[c.Topic]...)
			sort.Slice(indexes, func(a, b int) bool { return indexes[a] < indexes[b] })
			m.event(kind, fields{"partitions": indexes})
		}
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(c.Group),
		kgo.ClientID(c.Member),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// A rebalance waits until what was polled is committed.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(tell("assigned")),
		kgo.OnPartitionsRevoked(func(ctx context.Context, cl *kgo.Client, given map[string][]int32) {
			if m.automatic {
				// As the client does by itself when nobody wants to be told.
				if err := cl.CommitUncommittedOffsets(ctx); err != nil {
					m.event("commit_failed", fields{"error": err.Error()})
				}
			}
			tell("revoked")(ctx, cl, given)
		}),
		kgo.OnPartitionsLost(tell("lost")),
	}
	if !automatic {
		options = append(options, kgo.DisableAutoCommit())
	}
	if c.SessionMS > 0 {
		options = append(options, kgo.SessionTimeout(time.Duration(c.SessionMS)*time.Millisecond))
	}
	if id := c.Settings["client.id"]; id != "" {
		options = append(options, kgo.ClientID(id))
	}
	if c.Settings["group.protocol"] == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
	}
	if instance := c.Settings["group.instance.id"]; instance != "" {
		options = append(options, kgo.InstanceID(instance))
	}
	switch c.Settings["group.remote.assignor"] {
	case "range":
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	case "uniform":
		options = append(options, kgo.Balancers(kgo.StickyBalancer()))
	}
	if c.Regex != "" {
		options = append(options, kgo.ConsumeTopics(c.Regex), kgo.ConsumeRegex())
	} else {
		options = append(options, kgo.ConsumeTopics(c.Topic))
	}
	cl, err := client(options...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.client, m.leaving = cl, cancel
	members[c.Member] = m
	go m.run(ctx)
	return fields{}, nil
}

func (m *member) run(ctx context.Context) {
	defer close(m.left)
	for ctx.Err() == nil {
		fetched := m.client.PollFetches(ctx)
		fetched.EachError(func(_ string, partition int32, err error) {
			if ctx.Err() == nil {
				m.event("warned", fields{"partition": partition, "error": err.Error()})
			}
		})
		records := [][2]int64{}
		positions := map[int32]int64{}
		fetched.EachRecord(func(record *kgo.Record) {
			records = append(records, [2]int64{int64(record.Partition), record.Offset})
			positions[record.Partition] = record.Offset + 1
		})
		if len(records) > 0 {
			m.event("records", fields{"records": records})
			if m.automatic {
				// It is committed in its time.
			} else if err := m.client.CommitUncommittedOffsets(context.Background()); err != nil {
				m.event("commit_failed", fields{"error": err.Error()})
			} else {
				offsets := [][2]int64{}
				for partition, offset := range positions {
					offsets = append(offsets, [2]int64{int64(partition), offset})
				}
				m.event("committed", fields{"offsets": offsets})
			}
		}
		m.client.AllowRebalance()
	}
	m.client.CloseAllowingRebalance()
}

func (m *member) event(kind string, more fields) {
	more["event"], more["member"] = kind, m.name
	say(more)
}

func (m *member) finish() {
	m.leaving()
	<-m.left
}

// A producer at work until told to stop: the n-th record's value is n, in decimal.
type load struct {
	name     string
	client   *kgo.Client
	stopping chan struct{}
	stopped  chan struct{}
	mutex    sync.Mutex
	acked    [][3]int64
	sent     int64
}

func startLoad(c command) (fields, error) {
	cl, err := client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return nil, err
	}
	l := &load{name: c.Load, client: cl, stopping: make(chan struct{}), stopped: make(chan struct{})}
	loads[c.Load] = l
	go l.run(c.Topic, int64(c.Partitions))
	return fields{}, nil
}

func (l *load) run(topic string, partitions int64) {
	defer close(l.stopped)
	inFlight := make(chan struct{}, loadInFlight)
	told := time.Now()
	for {
		select {
		case <-l.stopping:
			l.client.Flush(context.Background())
			l.client.Close()
			l.report()
			return
		case inFlight <- struct{}{}:
			seq := l.sent
			l.sent++
			record := &kgo.Record{
				Topic:     topic,
				Partition: int32(seq % partitions),
				Value:     strconv.AppendInt(nil, seq, 10),
			}
			l.client.Produce(context.Background(), record, func(done *kgo.Record, err error) {
				<-inFlight
				if err != nil {
					say(fields{"event": "failed", "load": l.name, "seq": seq, "error": err.Error()})
					return
				}
				l.mutex.Lock()
				defer l.mutex.Unlock()
				l.acked = append(l.acked, [3]int64{int64(done.Partition), done.Offset, seq})
			})
			time.Sleep(loadPause)
		case <-time.After(loadReport):
		}
		if time.Since(told) > loadReport {
			told = time.Now()
			l.report()
		}
	}
}

func (l *load) report() {
	l.mutex.Lock()
	acked := l.acked
	l.acked = nil
	l.mutex.Unlock()
	if acked == nil {
		acked = [][3]int64{}
	}
	say(fields{"event": "acked", "load": l.name, "records": acked})
}

func (l *load) finish() int64 {
	close(l.stopping)
	<-l.stopped
	return l.sent
}

// Writes records of one size as fast as the client can, uncompressed.
func benchProduce(c command) (fields, error) {
	cl, err := client(
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	noise := make([]byte, c.Size+4096)
	for j := range noise {
		noise[j] = byte(mix(uint64(j)))
	}
	var mutex sync.Mutex
	var failure error
	started := time.Now()
	for i := range c.Count {
		record := &kgo.Record{
			Topic:     c.Topic,
			Partition: int32(i / 512 % int64(c.Partitions)),
			Value:     noise[i%4096 : int(i%4096)+c.Size],
		}
		cl.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
			if err != nil {
				mutex.Lock()
				defer mutex.Unlock()
				failure = err
			}
		})
	}
	if err := cl.Flush(context.Background()); err != nil {
		return nil, err
	}
	mutex.Lock()
	defer mutex.Unlock()
	return fields{"seconds": time.Since(started).Seconds()}, failure
}

// Reads so many records from the start of a topic as fast as the client can.
func benchConsume(c command) (fields, error) {
	start := map[int32]kgo.Offset{}
	for index := range c.Partitions {
		start[index] = kgo.NewOffset().AtStart()
	}
	started := time.Now()
	cl, err := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: start}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	for read := int64(0); read < c.Count; {
		ctx, cancel := context.WithTimeout(context.Background(), stall)
		fetched := cl.PollFetches(ctx)
		cancel()
		if err := fetched.Err(); err != nil {
			return nil, err
		}
		read += int64(fetched.NumRecords())
	}
	return fields{"seconds": time.Since(started).Seconds()}, nil
}

// Returns the i-th record of a seed: the same bytes in every driver and in the harness.
func sample(seed uint64, i int64) *kgo.Record {
	x := mix(seed*1_000_003 + uint64(i))
	record := &kgo.Record{}
	if i%10 != 0 {
		record.Key = fmt.Appendf(nil, "key-%d", (x>>32)%17)
	}
	if i%13 != 5 {
		length := x & 0xff
		if i%50 == 7 {
			length = 20_000
		}
		record.Value = make([]byte, length)
		for j := range record.Value {
			if x>>8&1 == 1 {
				record.Value[j] = 'a' + byte(j%7)
			} else {
				record.Value[j] = byte(mix(x + uint64(j)))
			}
		}
	}
	switch i % 4 {
	case 1:
		record.Headers = []kgo.RecordHeader{{Key: "trace", Value: strconv.AppendInt(nil, i, 10)}}
	case 2:
		record.Headers = []kgo.RecordHeader{{Key: "twice", Value: []byte("1")}, {Key: "twice"}}
	case 3:
		record.Headers = []kgo.RecordHeader{{Key: "empty", Value: []byte{}}}
	}
	return record
}

func mix(seed uint64) uint64 {
	z := seed + 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// A tally counts and digests the records of one partition in the order they were read.
type tally struct {
	count  int64
	digest hash.Hash
}

func (t *tally) add(record *kgo.Record) {
	var line bytes.Buffer
	binary.Write(&line, binary.BigEndian, record.Offset)
	binary.Write(&line, binary.BigEndian, record.Timestamp.UnixMilli())
	field(&line, record.Key)
	field(&line, record.Value)
	binary.Write(&line, binary.BigEndian, int32(len(record.Headers)))
	for _, header := range record.Headers {
		field(&line, []byte(header.Key))
		field(&line, header.Value)
	}
	t.digest.Write(line.Bytes())
	t.count++
}

func field(line *bytes.Buffer, data []byte) {
	length := int32(len(data))
	if data == nil {
		length = -1
	}
	binary.Write(line, binary.BigEndian, length)
	line.Write(data)
}

func (t *tally) finish() fields {
	return fields{"count": t.count, "sha256": hex.EncodeToString(t.digest.Sum(nil))}
}
