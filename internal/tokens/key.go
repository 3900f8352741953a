package tokens

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"adsync/internal/secret"
)

// KeySize is the length of a key before it is written in base64.
const KeySize = 32

// Key seals what is kept. It does not print.
type Key struct {
	id   string
	aead cipher.AEAD
}

// ParseKey reads a key as the configuration has it: 32 bytes in base64, as `openssl rand -base64 32` writes them. The error does not hold the key.
func ParseKey(text secret.Text) (Key, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(text.Reveal())
	switch {
	case err != nil:
		return Key{}, errors.New("is not base64")
	case len(raw) != KeySize:
		return Key{}, fmt.Errorf("holds %d bytes, not %d", len(raw), KeySize)
	}
	different := map[byte]bool{}
	for _, b := range raw {
		different[b] = true
	}
	if len(different) < 8 {
		return Key{}, errors.New("is not random: it has hardly two different bytes")
	}
	return newKey(raw)
}

// newKey derives what seals, and a name that says nothing about it.
func newKey(raw []byte) (Key, error) {
	id, err := hkdf.Key(sha256.New, raw, nil, "adsync tokens: name of a key", 6)
	if err != nil {
		return Key{}, err
	}
	enc, err := hkdf.Key(sha256.New, raw, nil, "adsync tokens: AES-256-GCM", 32)
	if err != nil {
		return Key{}, err
	}
	block, err := aes.NewCipher(enc)
	if err != nil {
		return Key{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return Key{id: hex.EncodeToString(id), aead: aead}, err
}

// ID names the key in rows and messages.
func (k Key) ID() string { return k.id }

// Format hides the key.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("***")) }

// Sealed is something encrypted, and the name of the key that opens it.
type Sealed struct {
	Key string
	Box []byte
}

// ring is the keys: the first seals, all open.
type ring []Key

// UnknownKeyError says that something was sealed with a key that is not configured.
type UnknownKeyError struct{ Key, Have string }

func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("the tokens in the database were stored with the key %s, and token_key gives %s", e.Key, e.Have)
}

// Advice says what to do.
func (e *UnknownKeyError) Advice() string {
	return "write the earlier key behind the new one: token_key: [new, earlier]. Where it is lost, delete the rows of adsync_tokens and adsync_token_root: every connection then begins with what is configured"
}

func (r ring) seal(plain []byte, about string) Sealed {
	k := r[0]
	return Sealed{Key: k.id, Box: k.aead.Seal(nil, nil, plain, []byte(about+"\x00"+k.id))}
}

func (r ring) open(s Sealed, about string) ([]byte, error) {
	have := ""
	for _, k := range r {
		if k.id == s.Key {
			plain, err := k.aead.Open(nil, nil, s.Box, []byte(about+"\x00"+k.id))
			if err != nil {
				return nil, errors.New("what is stored was changed, or moved from another row: it does not open with its key")
			}
			return plain, nil
		}
		if have != "" {
			have += ", "
		}
		have += k.id
	}
	return nil, &UnknownKeyError{Key: s.Key, Have: have}
}

// name is a keyed hash of parts, none of which can be told from it.
func name(root []byte, parts []string) string {
	h := hmac.New(sha256.New, root)
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		_, _ = io.WriteString(h, p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
