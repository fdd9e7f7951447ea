package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/jmoiron/sqlx"

	"darktower.example/global-controller/internal/freeport"
)

// NewStandby starts a hot standby of c: a server that follows it, and that may be read. The standby is a cluster of its own.
func (c *Cluster) NewStandby() (*Cluster, error) {
	dir, err := os.MkdirTemp("", "testpg")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	s := &Cluster{bin: c.bin, dir: dir, as: c.as}
	if err := s.follow(c.address); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (c *Cluster) follow(primary string) error {
	if err := c.handOver(); err != nil {
		return err
	}

	host, port, err := net.SplitHostPort(primary)
	if err != nil {
		return fmt.Errorf("address: %w", err)
	}

	backup := c.command("pg_basebackup", "-h", host, "-p", port, "-U", "postgres", "-D", c.data(),
		"-R", "-X", "stream", "-c", "fast", "--no-sync")
	if out, err := backup.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}

	addresses, err := freeport.Find(1)
	if err != nil {
		return err
	}

	c.address = addresses[0]
	if err := c.watch(); err != nil {
		return err
	}

	return c.start()
}

// Address is the server's host and port.
func (c *Cluster) Address() string { return c.address }

// Promote makes a primary of a standby, and returns when it accepts writes.
func (c *Cluster) Promote() error {
	db, err := sqlx.Open("postgres", c.URL())
	if err != nil {
		return fmt.Errorf("open PostgreSQL: %w", err)
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var promoted bool
	if err := db.GetContext(ctx, &promoted, "SELECT pg_promote(true, $1)", int(startTimeout/time.Second)); err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	if !promoted {
		return errors.New("promote: the standby did not become a primary in time")
	}
	return nil
}
