package policies

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// wrongText says what is wrong with a text under a rule, or "". textPattern says
// the same to editors.
func wrongText(text string, rule textRule) string {
	if rule == separatorRule {
		r, size := utf8.DecodeRuneInString(text)
		if size == 0 || size != len(text) || r == '"' || r != '\t' && hidden(r) || r == utf8.RuneError {
			return "must be one character such as \",\" or \";\" or \"\\t\""
		}
		return ""
	}
	if strings.ContainsFunc(text, hidden) {
		return "holds a control or invisible character; remove it"
	}
	if utf8.RuneCountInString(text) > maxTextLen {
		return fmt.Sprintf("is longer than %d characters", maxTextLen)
	}
	if rule == cellRule {
		return ""
	}
	if text == "" {
		return "is empty"
	}
	if rule == plainRule {
		return ""
	}
	// Spreadsheets execute cells that begin with the four signs, and columns
	// of the draws that are no coefficients begin with a dot.
	if strings.ContainsRune(".=+-@", rune(text[0])) {
		return "begins with one of . = + - @; choose another name"
	}
	if strings.TrimSpace(text) != text {
		return "begins or ends with a space; remove it"
	}
	if rule == columnRule && text == "intercept" {
		return "is reserved for the intercept; choose another name"
	}
	return ""
}

// Other readers of YAML take these bare words for something else than text; a
// policy must mean the same to all of them.
var (
	bareWord   = regexp.MustCompile(`^(?i:|~|null|y|n|yes|no|true|false|on|off|[-+]?\.inf|\.nan)$`)
	bareNumber = regexp.MustCompile(`^[-+]?(\.?[0-9][0-9_]*|[0-9][0-9_]*\.[0-9_]*)([eE][-+]?[0-9]+)?$` +
		`|^[-+]?0([xX][0-9a-fA-F_]+|[oO][0-7_]+|[bB][01_]+)$` +
		`|^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)
	bareDate = regexp.MustCompile(`^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}($|[Tt ])`)
)

// ambiguous reports a scalar without quotes that is not text to every reader.
func ambiguous(n *node) bool {
	return !n.quoted && (bareWord.MatchString(n.text) || bareNumber.MatchString(n.text) || bareDate.MatchString(n.text))
}

// textPattern returns the regular expression of a rule, in the part of the
// language that ECMAScript with its u flag and Go share.
func textPattern(rule textRule) string {
	const (
		hiddenClass = `\p{Cc}\p{Cf}\p{Zl}\p{Zp}`
		joiners     = "\u200C\u200D"
		shown       = "(?:[^" + hiddenClass + "]|[" + joiners + "])"
		first       = "(?:[^" + hiddenClass + `\p{Zs}.=+@-]|[` + joiners + "])"
		last        = "(?:[^" + hiddenClass + `\p{Zs}]|[` + joiners + "])"
	)
	switch rule {
	case plainRule:
		return "^" + shown + "+$"
	case cellRule:
		return "^" + shown + "*$"
	case separatorRule:
		return "^(?:[^" + hiddenClass + "\uFFFD\"]|[" + joiners + `\t])$`
	}
	return "^" + first + "(?:" + shown + "*" + last + ")?$"
}
