package config

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"runtime"
)

// authorities reads a file of certificates, once for all connections that name it. Empty where it cannot be used, which has been said.
func (l *loader) authorities(f *Field, in input) string {
	name := in.text
	if !filepath.IsAbs(name) {
		name = filepath.Join(cmp.Or(l.files.dir, l.opts.Dir), name)
	}
	if ca, read := l.cas[name]; read {
		return ca
	}
	file, err := readFile(name, maxCAFile, false)
	ca, message := string(file.data), ""
	if err != nil {
		message = fileMessage(err)
	} else {
		message = wrongAuthorities(file.data)
	}
	if message != "" {
		l.problem(f, in, message, "name a file of certificates in PEM (-----BEGIN CERTIFICATE-----) that this user may read")
		ca = ""
	} else if info, err := os.Stat(name); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o002 != 0 {
		l.r.warn(in.at, in.path, in.written, "everybody on this machine can change whom adsync trusts", "chmod o-w "+in.text)
	}
	if l.cas == nil {
		l.cas = map[string]string{}
	}
	l.cas[name] = ca
	return ca
}

// wrongAuthorities says what is wrong with certificates; empty: nothing. Each must be one that can be read: where some were left out, others would
// be refused later without a reason that anybody could see.
func wrongAuthorities(data []byte) string {
	n := 0
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		switch block.Type {
		case "CERTIFICATE":
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			return "holds a private key, which does not belong there"
		default:
			return "holds something else than certificates"
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "holds a certificate that cannot be read"
		}
		n++
	}
	if n == 0 {
		return "holds no certificate"
	}
	return ""
}
