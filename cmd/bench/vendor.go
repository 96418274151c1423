package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// vendor sells to everybody who asks, as cheaply as it can: it reads just so
// much of HTTP/1.1 as the two contenders speak, and checks nothing. What it
// keeps is its book: who bought what, and who bought twice.
type vendor struct {
	latency time.Duration // from a purchase read to its answer

	mu   sync.Mutex
	book map[string]int // orderId by outTradeNo
	sold sales
}

// sales is what the vendor counted.
type sales struct {
	Purchases int `json:"purchases"` // of different outTradeNos
	Doubles   int `json:"doubles"`   // of an outTradeNo that was bought before
	Lookups   int `json:"lookups"`
}

// serveVendor is the vendor's process: args are its latency. It says its
// address when it is ready.
func serveVendor(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("vendor: LATENCY is wanted")
	}
	latency, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	fmt.Fprintln(out, l.Addr())
	return newVendor(latency).serve(ctx, l)
}

func newVendor(latency time.Duration) *vendor {
	return &vendor{latency: latency, book: make(map[string]int)}
}

// serve answers whoever connects until l is closed. The connections end with
// their clients.
func (v *vendor) serve(ctx context.Context, l net.Listener) error {
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go v.converse(conn)
	}
}

// converse answers the requests of one connection, one after the other.
func (v *vendor) converse(conn net.Conn) {
	defer conn.Close()
	var (
		in     = bufio.NewReader(conn)
		body   []byte
		answer []byte
	)
	for {
		path, length, err := readHead(in)
		if err != nil {
			return // the client has gone, or it is none
		}
		body = append(body[:0], make([]byte, length)...)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		answer = appendAnswer(answer[:0], v.answer(path, body))
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// maxLength bounds a request's body.
const maxLength = 64 << 10

// readHead reads the request line and the headers of a request.
func readHead(in *bufio.Reader) (path string, length int, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return "", 0, err
	}
	_, rest, _ := bytes.Cut(line, []byte(" "))
	target, _, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return "", 0, errors.New("not a request")
	}
	path = string(target) // before the next read, which reuses its memory
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return "", 0, err
		}
		name, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		if !ok {
			return path, length, nil // the empty line
		}
		if !bytes.EqualFold(name, []byte("Content-Length")) {
			continue
		}
		length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		if err != nil || length < 0 || length > maxLength {
			return "", 0, errors.New("not a length")
		}
	}
}

func appendAnswer(to, body []byte) []byte {
	to = append(to, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "...)
	to = strconv.AppendInt(to, int64(len(body)), 10)
	return append(append(to, "\r\n\r\n"...), body...)
}

const (
	placePath  = "/api/v3/package/orderPackage"
	lookupPath = "/api/v3/package/getOrderPackageDetails"
	salesPath  = "/sales"
)

func (v *vendor) answer(path string, body []byte) []byte {
	switch path {
	case placePath:
		id := v.sell(field(body, "outTradeNo"))
		time.Sleep(v.latency)
		return fmt.Appendf(nil, `{"code":"200","message":"success","data":%s}`, bought(id))
	case lookupPath:
		return fmt.Appendf(nil, `{"code":"200","message":"success","data":[%s]}`, v.look(field(body, "outTradeNoArrStr")))
	case salesPath:
		v.mu.Lock()
		defer v.mu.Unlock()
		sold, _ := json.Marshal(v.sold) // three numbers: there is nothing to fail
		return sold
	default:
		return []byte(`{"code":"404","message":"no such call"}`)
	}
}

// bought is how a purchase is told.
func bought(id int) []byte {
	return fmt.Appendf(nil, `{"orderNumber":"%032x","orderId":%d}`, id, id)
}

// sell writes a purchase into the book. One that is repeated is another purchase.
func (v *vendor) sell(outTradeNo string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.book[outTradeNo]; ok {
		v.sold.Doubles++
	} else {
		v.sold.Purchases++
	}
	id := 101_000_000 + v.sold.Purchases + v.sold.Doubles
	v.book[outTradeNo] = id
	return id
}

// look lists which of the numbers are in the book.
func (v *vendor) look(outTradeNos string) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sold.Lookups++
	var rows []byte
	for no := range strings.SplitSeq(outTradeNos, ",") {
		id, ok := v.book[no]
		if !ok {
			continue
		}
		if len(rows) > 0 {
			rows = append(rows, ',')
		}
		rows = fmt.Appendf(rows, `{"outTradeNo":"%s",%s`, no, bought(id)[1:])
	}
	return rows
}

// field is the string of that name in body, which is JSON without white space
// and, in what bench orders, without escapes.
func field(body []byte, name string) string {
	_, rest, _ := bytes.Cut(body, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(value)
}
