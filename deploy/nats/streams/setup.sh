#!/bin/sh
# Makes the streams and consumers that are missing, and leaves those that exist as they are. Needs the nats tool, and
# NATS_URL with a user who may do that; REPLICAS is 1 where it is not set.
set -eu
here=$(dirname "$0")
replicas=${REPLICAS:-1}
export NATS_URL

stream() {
	if nats stream info "$1" --json >/dev/null 2>&1; then
		echo "stream $1 is there"
		return
	fi
	file=$(mktemp)
	sed "s/\"num_replicas\": 1/\"num_replicas\": $replicas/" "$here/$1.json" >"$file"
	nats stream add "$1" --config "$file" >/dev/null
	rm -f "$file"
	echo "stream $1 made, replicas $replicas"
}

consumer() {
	if nats consumer info "$1" "$2" --json >/dev/null 2>&1; then
		echo "consumer $2 of $1 is there"
		return
	fi
	nats consumer add "$1" "$2" --config "$here/$2.json" >/dev/null
	echo "consumer $2 of $1 made"
}

stream ORDERS
stream ORDER_RESULTS
stream ORDERS_DEAD
stream ORDER_JOURNAL
stream KV_ORDER_CONTROL
consumer ORDERS order-worker
consumer ORDER_RESULTS results-reader
