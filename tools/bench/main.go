// Command bench measures the heartbeat path of the Global Controller, what limits it, and etcd as a comparable service, side
// by side on this machine. Each server is a process, measured from outside, over PostgreSQL with fsync on. It needs
// TEST_DATABASE_URL and a daemon that has been built; `make bench` provides both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"

	"darktower.example/global-controller/pkg/devauth"
)

// options are the flags.
type options struct {
	daemon       string
	out          string
	only         string
	servers      string
	loads        string
	stores       string
	runs         int
	registered   int
	seconds      int
	pacedSeconds int
	size         sizeOptions
}

func main() {
	o := parseFlags()

	err := errors.New("usage: bench [FLAGS]; see --help")
	switch {
	case flag.NArg() == 1 && flag.Arg(0) == "echo":
		err = serveEcho() // A signal ends it at once.
	case flag.NArg() == 0:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags() (o options) {
	flag.StringVar(&o.daemon, "daemon", "bin/global-controller", "program of the Global Controller to measure")
	flag.StringVar(&o.out, "out", "docs/bench", "folder to write the results to; if empty, they are only printed")
	flag.StringVar(&o.only, "only", "closed,paced,growth",
		"parts to run; size, with 100,000 controllers and 10 million transitions, runs alone")
	flag.StringVar(&o.servers, "servers", "echo,unary,stream,unbatched,etcd", "servers to measure")
	flag.StringVar(&o.loads, "loads", "64x64,64x512,1000x1000", "CONNECTIONSxCALLERS of the closed loops")
	flag.IntVar(&o.runs, "runs", 3, "number of runs of each measurement; the median counts")
	flag.IntVar(&o.registered, "registered", 10000, "registered controllers in closed loops")
	flag.IntVar(&o.seconds, "seconds", 5, "duration of a closed loop")
	flag.IntVar(&o.pacedSeconds, "paced-seconds", 60,
		"duration of a paced load; three times as long for 50,000 controllers, half as long for 1,000")

	flag.StringVar(&o.stores, "stores", "postgres,sqlite", "stores to measure in the part size")
	flag.IntVar(&o.size.controllers, "size-controllers", 100_000, "controllers in the part size")
	flag.IntVar(&o.size.transitions, "size-transitions", 10_000_000, "transitions in the history in the part size")
	flag.IntVar(&o.size.shortTransitions, "size-short-transitions", 10_000, "transitions in the short history that reads are compared with")
	flag.IntVar(&o.size.watchers, "size-watchers", 1000, "watchers that resume at once in the part size")
	flag.IntVar(&o.size.lost, "size-lost", 10_000, "controllers that register again after a loss of their table")
	flag.Parse()
	return o
}

// bench is what all measurements share.
type bench struct {
	options
	ctx      context.Context
	admin    *sqlx.DB
	adminURL string
	auth     *devauth.Server
	jwksURL  string
	etcdPath string // empty if etcd is not installed

	databases int // that were created
}

func run(ctx context.Context, o options) error {
	b := &bench{options: o, ctx: ctx, adminURL: os.Getenv("TEST_DATABASE_URL")}
	if b.adminURL == "" {
		return errors.New("TEST_DATABASE_URL is not set: run make bench")
	}

	var err error
	if b.admin, err = sqlx.ConnectContext(ctx, "postgres", b.adminURL); err != nil {
		return err
	}
	defer func() { _ = b.admin.Close() }()
	if err := b.startAuth(); err != nil {
		return err
	}
	b.etcdPath, _ = exec.LookPath("etcd")

	if o.only == "size" {
		return b.runSize(o.size)
	}
	return b.runParts(strings.Split(o.only, ","))
}

// startAuth starts an auth controller that runs until the program ends.
func (b *bench) startAuth() (err error) {
	if b.auth, err = devauth.New("", time.Now); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, b.auth) }()
	b.jwksURL = "http://" + listener.Addr().String() + "/.well-known/jwks.json"
	return nil
}

func (b *bench) runParts(names []string) error {
	var rows []Row
	report := func(row Row) {
		rows = append(rows, row)
		fmt.Println(row)
	}

	parts := []struct {
		name string
		run  func(report func(Row)) error
	}{
		{"closed", b.runClosedLoops},
		{"paced", b.runPacedLoads},
		{"growth", b.runGrowth},
	}

	for _, part := range parts {
		if !slices.Contains(names, part.name) {
			continue
		}
		if err := part.run(report); err != nil {
			return err
		}
	}

	rows = medians(rows)
	fmt.Println("\nmedians")
	for _, row := range rows {
		fmt.Println(row)
	}
	return b.writeResults(rows)
}
