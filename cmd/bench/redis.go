package main

import (
	"context"
	"net"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
)

// startRedis starts a redis-server whose append-only file is synced every second.
func startRedis(ctx context.Context, dir string) (p *process, addr string, err error) {
	if addr, err = freeAddr(); err != nil {
		return nil, "", err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, "", err
	}
	p, err = startProcess(dir, "redis", nil, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", dir,
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
		"--daemonize", "no", "--loglevel", "warning", "--logfile", filepath.Join(dir, "redis.log"))
	if err != nil {
		return nil, "", err
	}
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer client.Close()
	err = until(ctx, "redis-server answers", startTimeout, 20*time.Millisecond, func() (bool, error) {
		return client.Ping(ctx).Err() == nil, p.alive()
	})
	if err != nil {
		p.close()
		return nil, "", err
	}
	return p, addr, nil
}

// freeAddr is an address of loopback that was free a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
