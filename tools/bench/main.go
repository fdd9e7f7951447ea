// Command bench compares the heartbeat path of the Global Controller with what bounds it and with a peer, side by side
// on this machine: each server is a process of its own, measured from outside, over PostgreSQL with fsync on. It needs
// TEST_DATABASE_URL and a daemon that has been built; `make bench` brings both.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"google.golang.org/grpc"

	"darktower.example/global-controller/pkg/devauth"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

type options struct {
	daemon, out, only, ways, loads, stores string
	runs, registered                       int
	seconds, pacedSeconds                  int
	size                                   sizeOptions
}

func main() {
	var o options
	flag.StringVar(&o.daemon, "daemon", "bin/global-controller", "the daemon to measure")
	flag.StringVar(&o.out, "out", "docs/bench", "the folder that results are written to; empty: none")
	flag.StringVar(&o.only, "only", "closed,paced,growth",
		"which parts to run; size, at 100,000 controllers and 10 million changes, runs alone")
	flag.StringVar(&o.ways, "ways", "echo,unary,stream,unbatched,etcd", "which servers to measure")
	flag.StringVar(&o.loads, "loads", "64x64,64x512,1000x1000", "connections x callers of the closed loops")
	flag.IntVar(&o.runs, "runs", 3, "how often each load is measured; the median counts")
	flag.IntVar(&o.registered, "registered", 10000, "registered controllers in closed loops")
	flag.IntVar(&o.seconds, "seconds", 5, "how long a closed loop is measured")
	flag.IntVar(&o.pacedSeconds, "paced-seconds", 60, "how long a paced load is measured; 50,000 controllers take three times that, 1,000 half")
	flag.StringVar(&o.stores, "stores", "postgres,sqlite", "which stores the part size measures")
	flag.IntVar(&o.size.controllers, "size-controllers", 100_000, "controllers of the part size")
	flag.IntVar(&o.size.history, "size-history", 10_000_000, "changes of history of the part size")
	flag.IntVar(&o.size.small, "size-small-history", 10_000, "changes of history that its reads are compared with")
	flag.IntVar(&o.size.subscribers, "size-subscribers", 1000, "subscribers that resume at once in the part size")
	flag.IntVar(&o.size.lost, "size-lost", 10_000, "controllers that register again after their table was lost")
	flag.Parse()
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

func serveEcho() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	pb.RegisterGlobalControllerServiceServer(server, echo{})
	fmt.Fprintln(os.Stderr, "serving grpc="+listener.Addr().String())
	return server.Serve(listener)
}

// target is a server that runs, and how to beat with it.
type target struct {
	*process
	address string
	dial    dialer
	db      *sqlx.DB // nil where there is none
	url     string   // of the database
	stop    func()
}

// bench holds what all measurements share.
type bench struct {
	options
	ctx      context.Context
	admin    *sqlx.DB
	adminURL string
	auth     *devauth.Server
	jwks     string
	etcd     string
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
	if b.auth, err = devauth.New("", time.Now); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, b.auth) }()
	b.jwks = "http://" + listener.Addr().String() + "/.well-known/jwks.json"
	b.etcd, _ = exec.LookPath("etcd")

	if o.only == "size" {
		return b.runSize(o.size)
	}

	var rows []Row
	want := func(part string) bool { return slices.Contains(strings.Split(o.only, ","), part) }
	if want("closed") {
		for _, text := range strings.Split(o.loads, ",") {
			var load struct{ conns, callers int }
			if _, err := fmt.Sscanf(text, "%dx%d", &load.conns, &load.callers); err != nil {
				return fmt.Errorf("--loads is %q: allowed is CONNECTIONSxCALLERS,…", o.loads)
			}
			for run := range o.runs {
				for _, way := range strings.Split(o.ways, ",") {
					row, err := b.closed(way, load.conns, load.callers, o.registered)
					if err != nil {
						return fmt.Errorf("%s with %d connections and %d callers: %w", way, load.conns, load.callers, err)
					}
					row.Run = run + 1
					rows = append(rows, row)
					fmt.Println(row)
				}
			}
		}
	}
	if want("paced") {
		for _, controllers := range []int{1000, 10000, 50000} {
			seconds := o.pacedSeconds
			ways := []string{"echo", "unary", "stream"}
			switch controllers {
			case 1000:
				seconds = max(1, o.pacedSeconds/2)
			case 50000:
				seconds, ways = 3*o.pacedSeconds, []string{"unary"}
			}
			for run := range o.runs {
				for _, way := range ways {
					row, err := b.paced(way, controllers, time.Duration(seconds)*time.Second)
					if err != nil {
						return fmt.Errorf("%s, %d controllers paced: %w", way, controllers, err)
					}
					row.Run = run + 1
					rows = append(rows, row)
					fmt.Println(row)
				}
			}
		}
	}
	if want("growth") {
		for _, registered := range []int{1000, 10000, 100000} {
			for run := range o.runs {
				row, err := b.closed("unary", 64, 512, registered)
				if err != nil {
					return fmt.Errorf("growth at %d: %w", registered, err)
				}
				row.Part, row.Run = "growth", run+1
				rows = append(rows, row)
				fmt.Println(row)
			}
			found, err := b.fleet(registered)
			if err != nil {
				return fmt.Errorf("fleet of %d: %w", registered, err)
			}
			for _, row := range found {
				rows = append(rows, row)
				fmt.Println(row)
			}
		}
	}
	rows = medians(rows)
	fmt.Println("\nmedians")
	for _, row := range rows {
		fmt.Println(row)
	}
	if o.out == "" {
		return nil
	}
	data, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(o.out, "results.json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(o.out, "results.md"), []byte(table(rows)), 0o644),
		os.WriteFile(filepath.Join(o.out, "results.svg"), []byte(picture(rows)), 0o644),
	)
}

var (
	serving   = regexp.MustCompile(`serving.* grpc=(\S+)(?: http=(\S+))?`)
	etcdUp    = regexp.MustCompile(`serving client traffic|ready to serve client requests|serving insecure client requests`)
	databases int
)

// start runs a server with so many controllers registered, conns connections of whose callers are distinct.
func (b *bench) start(way string, registered int) (*target, error) {
	switch way {
	case "echo":
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		p, found, err := start(b.ctx, serving, nil, self, "echo")
		if err != nil {
			return nil, err
		}
		return &target{process: p, address: found[1], dial: unary(""), stop: p.stop}, nil
	case "etcd":
		return b.startEtcd(registered)
	}
	databases++
	database := fmt.Sprintf("bench_%d_%d", os.Getpid(), databases)
	if _, err := b.admin.ExecContext(b.ctx, "CREATE DATABASE "+database); err != nil {
		return nil, err
	}
	url := strings.Replace(b.adminURL, "/postgres?", "/"+database+"?", 1)
	environment := []string{
		"DATABASE_URL=" + url, "AC_JWKS_URL=" + b.jwks, "BIND_ADDRESS=127.0.0.1:0", "GC_GRPC_BIND_ADDRESS=127.0.0.1:0",
		"RATE_LIMIT_RPM=1000000000", "GC_MAX_CONTROLLERS_PER_SUBJECT=1000000000",
	}
	if way == "unbatched" {
		environment = append(environment, "GC_HEARTBEAT_BATCHING=false")
	}
	p, found, err := start(b.ctx, serving, environment, b.daemon)
	if err != nil {
		return nil, err
	}
	db, err := sqlx.ConnectContext(b.ctx, "postgres", url)
	if err != nil {
		p.stop()
		return nil, err
	}
	t := &target{process: p, address: found[1], db: db, url: url, stop: func() {
		p.stop()
		_ = db.Close()
		_, _ = b.admin.Exec("DROP DATABASE " + database + " WITH (FORCE)")
	}}
	token, err := b.auth.Token("bench", map[string]any{"scope": "mc:register", "service_type": "meeting-controller"})
	if err != nil {
		t.stop()
		return nil, err
	}
	if t.dial = unary(token); way == "stream" {
		t.dial = stream(token)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		// The first registration waits until the service is there.
		if err = register(b.ctx, t.address, token, 1); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err == nil {
		err = register(b.ctx, t.address, token, registered)
	}
	if err == nil {
		_, err = db.ExecContext(b.ctx, "VACUUM ANALYZE meeting_controllers")
	}
	if err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

func (b *bench) startEtcd(registered int) (*target, error) {
	if b.etcd == "" {
		return nil, errors.New("etcd is not installed: apt-get install etcd-server")
	}
	dir, err := os.MkdirTemp("", "bench-etcd")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address, peerURL := listener.Addr().String(), "http://"+peer.Addr().String()
	_, _ = listener.Close(), peer.Close()
	p, _, err := start(b.ctx, etcdUp, nil, b.etcd, "--data-dir", dir, "--listen-client-urls", "http://"+address, "--advertise-client-urls", "http://"+address,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "default="+peerURL, "--logger", "zap")
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	t := &target{process: p, address: address, stop: func() {
		p.stop()
		_ = os.RemoveAll(dir)
	}}
	ids, err := grantLeases(b.ctx, address, registered)
	if err != nil {
		t.stop()
		return nil, err
	}
	t.dial = leases(ids)
	return t, nil
}

func (b *bench) closed(way string, conns, callers, registered int) (Row, error) {
	t, err := b.start(way, registered)
	if err != nil {
		return Row{}, err
	}
	defer t.stop()
	connections, err := connect(t.address, conns)
	if err != nil {
		return Row{}, err
	}
	defer closeAll(connections)
	m := b.meter(t)
	// Once round the fleet before anything counts: the first heartbeat on a page that was just vacuumed costs more.
	warm := 2*time.Second + time.Duration(registered)*100*time.Microsecond
	l, err := closedLoop(b.ctx, connections, callers, registered, t.dial, warm, time.Duration(b.seconds)*time.Second, m)
	if err != nil {
		return Row{}, err
	}
	return m.row(Row{Part: "closed", Way: way, Connections: conns, Callers: callers, Controllers: registered}, l)
}

func (b *bench) paced(way string, controllers int, d time.Duration) (Row, error) {
	t, err := b.start(way, controllers)
	if err != nil {
		return Row{}, err
	}
	defer t.stop()
	const conns, callers = 1000, 1000
	connections, err := connect(t.address, conns)
	if err != nil {
		return Row{}, err
	}
	defer closeAll(connections)
	m := b.meter(t)
	l, err := paced(b.ctx, connections, callers, controllers, t.dial, 15*time.Second, d, m)
	if err != nil {
		return Row{}, err
	}
	return m.row(Row{Part: "paced", Way: way, Connections: conns, Callers: callers, Controllers: controllers}, l)
}
