package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"google.golang.org/grpc"

	"darktower.example/global-controller/internal/freeport"
	pb "darktower.example/global-controller/proto/darktower/v1"
)

// target is a server that runs, and how to send heartbeats to it.
type target struct {
	*process
	address   string
	newSender newSender
	db        *sqlx.DB // nil for servers without a database
	url       string   // of the database
	stop      func()
}

var (
	gcServing   = regexp.MustCompile(`serving.* grpc=(\S+)(?: http=(\S+))?`)
	etcdServing = regexp.MustCompile(`serving client traffic|ready to serve client requests|serving insecure client requests`)
)

// startTarget starts a server and registers controllers.
func (b *bench) startTarget(server string, registered int) (*target, error) {
	switch server {
	case "echo":
		return b.startEcho()
	case "etcd":
		return b.startEtcd(registered)
	default:
		return b.startGlobalController(server, registered)
	}
}

// startEcho starts this program as a server that only responds.
func (b *bench) startEcho() (*target, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, found, err := startProcess(b.ctx, gcServing, nil, program, "echo")
	if err != nil {
		return nil, err
	}
	return &target{process: p, address: found[1], newSender: newUnarySender(""), stop: p.stop}, nil
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

// createDatabase creates an empty PostgreSQL database and returns its URL.
func (b *bench) createDatabase() (url string, drop func(), err error) {
	b.databases++
	name := fmt.Sprintf("bench_%d_%d", os.Getpid(), b.databases)
	if _, err := b.admin.ExecContext(b.ctx, "CREATE DATABASE "+name); err != nil {
		return "", nil, err
	}
	drop = func() { _, _ = b.admin.Exec("DROP DATABASE " + name + " WITH (FORCE)") }
	return strings.Replace(b.adminURL, "/postgres?", "/"+name+"?", 1), drop, nil
}

// startGlobalController starts a Global Controller: unary and stream are the two protocols, unbatched is unary without batches.
func (b *bench) startGlobalController(server string, registered int) (*target, error) {
	url, drop, err := b.createDatabase()
	if err != nil {
		return nil, err
	}

	environment := []string{
		"DATABASE_URL=" + url,
		"AC_JWKS_URL=" + b.jwksURL,
		"BIND_ADDRESS=127.0.0.1:0",
		"GC_GRPC_BIND_ADDRESS=127.0.0.1:0",
		"RATE_LIMIT_RPM=1000000000",
		"GC_MAX_CONTROLLERS_PER_SUBJECT=1000000000",
	}
	if server == "unbatched" {
		environment = append(environment, "GC_HEARTBEAT_BATCHING=false")
	}

	p, found, err := startProcess(b.ctx, gcServing, environment, b.daemon)
	if err != nil {
		drop()
		return nil, err
	}
	db, err := sqlx.ConnectContext(b.ctx, "postgres", url)
	if err != nil {
		p.stop()
		drop()
		return nil, err
	}

	t := &target{process: p, address: found[1], db: db, url: url}
	t.stop = func() {
		p.stop()
		_ = db.Close()
		drop()
	}

	if err := b.prepareGlobalController(t, server, registered); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// prepareGlobalController registers the controllers and sets how heartbeats are sent.
func (b *bench) prepareGlobalController(t *target, server string, registered int) error {
	token, err := b.auth.Token("bench", map[string]any{"scope": "mc:register", "service_type": "meeting-controller"})
	if err != nil {
		return err
	}
	t.newSender = newUnarySender(token)
	if server == "stream" {
		t.newSender = newStreamSender(token)
	}

	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		// The first registration fails until the server is ready.
		if err = register(b.ctx, t.address, token, 1); err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := register(b.ctx, t.address, token, registered); err != nil {
		return err
	}
	_, err = t.db.ExecContext(b.ctx, "VACUUM ANALYZE meeting_controllers")
	return err
}

func (b *bench) startEtcd(registered int) (*target, error) {
	if b.etcdPath == "" {
		return nil, errors.New("etcd is not installed: apt-get install etcd-server")
	}
	ports, err := freeport.Find(2)
	if err != nil {
		return nil, err
	}

	dir, err := os.MkdirTemp("", "bench-etcd")
	if err != nil {
		return nil, err
	}
	address := ports[0]
	peerURL := "http://" + ports[1]

	p, _, err := startProcess(b.ctx, etcdServing, nil, b.etcdPath,
		"--data-dir", dir,
		"--listen-client-urls", "http://"+address,
		"--advertise-client-urls", "http://"+address,
		"--listen-peer-urls", peerURL,
		"--initial-advertise-peer-urls", peerURL,
		"--initial-cluster", "default="+peerURL,
		"--logger", "zap")
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}

	t := &target{process: p, address: address}
	t.stop = func() {
		p.stop()
		_ = os.RemoveAll(dir)
	}

	leaseIDs, err := grantLeases(b.ctx, address, registered)
	if err != nil {
		t.stop()
		return nil, err
	}
	t.newSender = newLeaseSender(leaseIDs)
	return t, nil
}
