package main

import "math/rand/v2"

// requestSubject is where orders are published.
const requestSubject = "orders.package.request"

// stream returns the name of this deployment's stream whose default name is given.
func (w *world) stream(name string) string { return w.side + name }

// subject returns this deployment's subject whose default is given.
func (w *world) subject(name string) string { return w.side + name }

// startBeside starts a second deployment beside w: on the same NATS and the same
// Redis, with streams and an account of its own, and orders with the same numbers.
func (w *world) startBeside() {
	w.t.Helper()
	b := emptyWorld(w.t, w.programs, rand.NewPCG(w.random.Uint64(), w.random.Uint64()))
	b.side, b.nodes, b.redis, b.redisAddr, b.rdb = "B", w.nodes, w.redis, w.redisAddr, w.rdb
	b.startVendor(w.rules()...)
	b.startWorkers(w.publishersConn(), workers-1, "NATS_URL="+w.natsServers(), "REDIS_URL=redis://:"+encodedRedisPassword+"@"+w.redisAddr+"/0?read_timeout=1s",
		"UPSTREAM_APPKEY="+b.accounts[0].key, "UPSTREAM_URL="+b.vendorURL,
		"ORDERS_STREAM="+b.stream("ORDERS"), "ORDERS_SUBJECT="+b.subject(requestSubject),
		"RESULTS_STREAM="+b.stream("ORDER_RESULTS"), "RESULTS_SUBJECT="+b.subject("orders.package.result"),
		"DEAD_STREAM="+b.stream("ORDERS_DEAD"), "DEAD_SUBJECT="+b.subject("orders.package.dead"),
		"JOURNAL_STREAM="+b.stream("ORDER_JOURNAL"), "JOURNAL_SUBJECT="+b.subject("orders.journal"))
	w.beside = b
}

// deployments are w and the one beside it.
func (w *world) deployments() []*world {
	if w.beside == nil {
		return []*world{w}
	}
	return []*world{w, w.beside}
}

// eitherDeployment makes a fault in one of the two deployments, or in the Redis that they
// share.
func eitherDeployment(w *world, n int) {
	one := w.deployments()[w.random.IntN(2)]
	switch n % 4 {
	case 0:
		killWorker(one, n)
	case 1:
		loseWorkerAndRedis(one, n)
	case 2:
		deleteConsumer(one, n/4)
	case 3:
		restartRedis(w, n/4)
	}
}
