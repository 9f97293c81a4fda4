package signed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/gowebpki/jcs"
)

// A Kind is the first line of a text.
type Kind string

// The kinds of text.
const (
	PolicyApproval Kind = "privsgld policy approval v1"
	JobRequest     Kind = "privsgld request v1"
	Amendment      Kind = "privsgld amendment v1"
)

// ErrText: a text is not of the kind that was asked for, or not in canonical form.
var ErrText = errors.New("signed: the text is none of this kind")

// Text returns the text of a body, which must be an object as JSON.
func Text(kind Kind, body any) (string, error) {
	plain, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrText, err)
	}
	canonical, err := jcs.Transform(plain)
	if err != nil || len(canonical) == 0 || canonical[0] != '{' {
		return "", fmt.Errorf("%w: it has no canonical JSON", ErrText)
	}
	return string(kind) + "\n" + string(canonical) + "\n", nil
}

// Body reads a text into body, a pointer to a struct: only what Text writes of
// that kind and body, byte for byte, is accepted. The error is ErrText.
func Body(kind Kind, text string, body any) error {
	line, ok := strings.CutPrefix(text, string(kind)+"\n")
	if !ok {
		return ErrText
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(body); err != nil {
		return fmt.Errorf("%w: its object does not read", ErrText)
	}
	if again, err := Text(kind, body); err != nil || again != text {
		return fmt.Errorf("%w: it is not in canonical form", ErrText)
	}
	return nil
}

// split returns the text of a file and the lines of its signatures, where there
// are any.
func split(file []byte) (text string, signatures []byte) {
	if i := bytes.LastIndex(file, []byte("\n\n")); i >= 0 {
		return string(file[:i+1]), file[i+2:]
	}
	return string(file), nil
}

// TextOf returns the text of a file, without its signatures.
func TextOf(file []byte) string {
	text, _ := split(file)
	return text
}
