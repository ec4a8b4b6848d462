package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// benchWriter is franz-go in `cargo xtask bench client`: it writes the values of a file to the topic
// `bench`, over and over, as fast as it is let, until it is killed, and tells how many records were
// acknowledged, with their bytes, at the first one and every so often. Arguments: the bootstrap servers,
// the file, the bytes of a value, the codec, and `tuned` for larger batches.
func benchWriter(arguments []string) {
	file, err := os.ReadFile(arguments[1])
	if err != nil {
		panic(err)
	}
	size, err := strconv.Atoi(arguments[2])
	if err != nil {
		panic(err)
	}
	codec := kgo.NoCompression()
	if arguments[3] == "lz4" {
		codec = kgo.Lz4Compression()
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(arguments[0]),
		kgo.DefaultProduceTopic("bench"),
		kgo.ProducerBatchCompression(codec),
	}
	if len(arguments) > 4 && arguments[4] == "tuned" {
		options = append(options,
			kgo.ProducerLinger(20*time.Millisecond), kgo.MaxBufferedRecords(200_000))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		panic(err)
	}
	values := make([][]byte, len(file)/size)
	for i := range values {
		values[i] = file[i*size : (i+1)*size]
	}
	var acknowledged atomic.Int64
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			panic(err)
		}
		acknowledged.Add(1)
	}
	out := bufio.NewWriter(os.Stdout)
	var next time.Time
	for turn := 0; ; turn++ {
		value := values[turn%len(values)]
		client.Produce(context.Background(), &kgo.Record{Value: value}, promise)
		if turn%256 != 0 {
			continue
		}
		records := acknowledged.Load()
		if now := time.Now(); records > 0 && now.After(next) {
			next = now.Add(benchInterval)
			fmt.Fprintln(out, records, records*int64(size))
			out.Flush()
		}
	}
}
