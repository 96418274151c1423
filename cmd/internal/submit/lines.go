package submit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
)

// maxLine is the longest line that is read, in bytes: NATS by default takes no longer
// message.
const maxLine = 1 << 20

// line is one physical line of a file.
type line struct {
	number int
	offset int64  // byte offset of its first byte in the file
	text   []byte // at most maxLine bytes, without the line end
	length int    // length of the whole line in bytes, without the line end
}

// lines reads a file line by line, with any mix of the line ends \n, \r\n and \r, in
// bounded memory.
type lines struct {
	r       *bufio.Reader
	offset  int64
	number  int
	pending []line // lines that unread gave back
}

// newLines returns the lines of a file from offset on, where the line after line number
// begins. It uses the buffer, so no earlier lines of that buffer may be read any more.
func newLines(file io.ReaderAt, buffer *bufio.Reader, offset int64, number int) *lines {
	buffer.Reset(io.NewSectionReader(file, offset, math.MaxInt64-offset))
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

// skip discards n buffered bytes.
func (l *lines) skip(n int) {
	n, _ = l.r.Discard(n)
	l.offset += int64(n)
}

// unread makes next return those lines again.
func (l *lines) unread(back []line) { l.pending = append(back, l.pending...) }
