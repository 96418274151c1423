package submit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxLine is the longest line that is read. A message of NATS is not longer, unless its
// server was told so.
const maxLine = 1 << 20

// line is one physical line of a file.
type line struct {
	number int
	offset int64 // of its first byte
	text   []byte
	length int // in bytes; over maxLine, text has only the beginning
}

// lines reads a file line by line, with any mix of the line ends \n, \r\n and \r, in
// bounded memory.
type lines struct {
	r       *bufio.Reader
	offset  int64
	number  int
	pending []line // read ahead, and given back
}

// newLines reads from a file at offset, where the line after number begins. It uses the
// buffer, and no reader may use it beside it.
func newLines(file io.ReaderAt, buffer *bufio.Reader, offset int64, number int) *lines {
	const whole = 1<<63 - 1
	buffer.Reset(io.NewSectionReader(file, offset, whole-offset))
	return &lines{r: buffer, offset: offset, number: number}
}

// next returns the next line, or io.EOF.
func (l *lines) next() (line, error) {
	if len(l.pending) > 0 {
		next := l.pending[0]
		l.pending = l.pending[1:]
		return next, nil
	}
	now := line{number: l.number + 1, offset: l.offset}
	for {
		if _, err := l.r.Peek(1); errors.Is(err, io.EOF) && now.length > 0 {
			break
		} else if err != nil {
			return line{}, err
		}
		buffered, _ := l.r.Peek(l.r.Buffered())
		end := bytes.IndexAny(buffered, "\r\n")
		part := buffered
		if end >= 0 {
			part = buffered[:end]
		}
		now.length += len(part)
		now.text = append(now.text, part[:min(len(part), maxLine-len(now.text))]...)
		if end < 0 {
			l.skip(len(part))
			continue
		}
		ended := buffered[end]
		l.skip(len(part) + 1)
		if after, err := l.r.Peek(1); ended == '\r' && err == nil && after[0] == '\n' {
			l.skip(1)
		}
		break
	}
	l.number++
	return now, nil
}

// skip leaves n bytes behind that are in the buffer.
func (l *lines) skip(n int) {
	n, _ = l.r.Discard(n)
	l.offset += int64(n)
}

// unread gives lines back, to be read next.
func (l *lines) unread(back []line) { l.pending = append(back, l.pending...) }
