package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const benchInterval = 50 * time.Millisecond

// recordPool and bytesPool keep what records were decoded into, and decompressed into, for the next
// fetch.
type recordPool struct{ pool sync.Pool }

func (p *recordPool) GetRecords(n int) []kgo.Record {
	if held, ok := p.pool.Get().(*[]kgo.Record); ok && cap(*held) >= n {
		return (*held)[:0]
	}
	return make([]kgo.Record, 0, n)
}

func (p *recordPool) PutRecords(records []kgo.Record) { p.pool.Put(&records) }

type bytesPool struct{ pool sync.Pool }

func (p *bytesPool) GetDecompressBytes(packed []byte, _ kgo.CompressionCodecType) []byte {
	if held, ok := p.pool.Get().(*[]byte); ok {
		return (*held)[:0]
	}
	return make([]byte, 0, 4*len(packed))
}

func (p *bytesPool) PutDecompressBytes(bytes []byte) { p.pool.Put(&bytes) }

// benchReader is franz-go in `cargo xtask bench client`: it reads every partition of the topic
// `bench` from its start until it is killed, and tells how many records it has read, with their
// bytes, at the first one and every so often. Arguments: the bootstrap servers, the number of
// partitions, and `pooled` to use pools.
func benchReader(arguments []string) {
	partitions, err := strconv.Atoi(arguments[1])
	if err != nil {
		panic(err)
	}
	offsets := map[int32]kgo.Offset{}
	for partition := 0; partition < partitions; partition++ {
		offsets[int32(partition)] = kgo.NewOffset().AtStart()
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(arguments[0]),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"bench": offsets}),
	}
	pooled := len(arguments) > 2 && arguments[2] == "pooled"
	if pooled {
		options = append(options, kgo.WithPools(&recordPool{}, &bytesPool{}))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		panic(err)
	}
	out := bufio.NewWriter(os.Stdout)
	var records, bytes int64
	var next time.Time
	for {
		fetches := client.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			panic(err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			records++
			bytes += int64(len(record.Value))
			if pooled {
				record.Recycle()
			}
		})
		if now := time.Now(); records > 0 && now.After(next) {
			next = now.Add(benchInterval)
			fmt.Fprintln(out, records, bytes)
			out.Flush()
		}
	}
}
