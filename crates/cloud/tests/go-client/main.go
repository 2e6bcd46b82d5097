// Command go-client is a client of an authority that shares no code with it: TLS, HTTP/2, X.509 and signing requests are
// those of Go's own libraries, and the few messages are encoded right here.
//
// It reads a login from standard input, goes through a client's life, and writes what it has seen as JSON.
package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// How long one call may take on loopback, with both sides on a busy machine.
const callLimit = 60 * time.Second

const (
	loginMethod    = "/moc.cloudagent.security.AuthenticationAgent/Login"
	identityMethod = "/moc.cloudagent.security.IdentityAgent/"
	monitorMethod  = "/moc.cloudagent.admin.CredentialMonitorAgent/Get"
)

var (
	renewal  = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 104, 1, 1}
	original = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 104, 1, 2}
	renewals = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 104, 1, 3}
)

type given struct {
	Main, Login, Name, Token, Roots string
}

type seen struct {
	Issuer      string
	SameLength  bool
	OtherKey    bool
	Original    bool
	Renewals    []int
	Created     bool
	OtherToken  bool
	OldToken    string
	NewToken    bool
	Monitor     int
	Roots       int
	WrongServer string
	Revoked     string
	RevokedCode uint64
	NoIdentity  string
}

type holder struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

func main() {
	var g given
	must(json.NewDecoder(os.Stdin).Decode(&g))
	var s seen
	admin, err := login(g, g.Name, g.Token)
	must(err)
	s.Issuer = admin.cert.Issuer.CommonName

	second, err := renew(g, admin, g.Name)
	must(err)
	third, err := renew(g, second, g.Name)
	must(err)
	s.SameLength = life(admin) == life(second) && life(second) == life(third)
	s.OtherKey = !second.key.PublicKey.Equal(&admin.key.PublicKey)
	s.Original = bytes.Equal(extension(second, original), admin.cert.Raw) && bytes.Equal(extension(third, original), admin.cert.Raw)
	for _, h := range []holder{second, third} {
		var count int
		_, err := asn1.Unmarshal(extension(h, renewals), &count)
		must(err)
		s.Renewals = append(s.Renewals, count)
	}

	name := "go-client"
	answer, err := call(g.Main, g.Roots, &third, "", identityMethod+"Invoke", join(message(1, text(1, name)), number(2, 1)))
	must(err)
	first := string(only(only(answer, 1), 5))
	s.Created = first != ""
	answer, err = call(g.Main, g.Roots, &third, "", identityMethod+"Operate", join(message(1, text(1, name)), number(3, 303)))
	must(err)
	newest := string(only(only(answer, 1), 5))
	s.OtherToken = newest != "" && newest != first
	_, err = login(g, name, first)
	s.OldToken = fmt.Sprint(err)
	client, err := login(g, name, newest)
	s.NewToken = err == nil

	answer, err = call(g.Main, g.Roots, &client, "", monitorMethod, nil)
	must(err)
	monitor := only(answer, 1)
	s.Monitor = len(only(monitor, 2))
	for rest := only(monitor, 1); ; s.Roots++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
	}
	self, err := x509.CreateCertificate(rand.Reader, template("localhost"), template("localhost"), &admin.key.PublicKey, admin.key)
	must(err)
	stranger := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: self}))
	_, err = call(g.Main, stranger, &client, "", monitorMethod, nil)
	s.WrongServer = fmt.Sprint(err)

	_, err = call(g.Main, g.Roots, &third, "", identityMethod+"Operate", join(message(1, text(1, name)), number(3, 302)))
	must(err)
	_, err = call(g.Main, g.Roots, &client, "", monitorMethod, nil)
	s.Revoked = fmt.Sprint(err)
	var refusal *refused
	if errors.As(err, &refusal) {
		s.RevokedCode = refusal.code
	}
	_, err = call(g.Main, g.Roots, nil, "", monitorMethod, nil)
	s.NoIdentity = fmt.Sprint(err)
	must(json.NewEncoder(os.Stdout).Encode(s))
}

func login(g given, name, token string) (holder, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	csr := request(key, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	identity := join(text(1, name), message(12, join(text(1, ""), text(2, csr))))
	answer, err := call(g.Login, g.Roots, nil, token, loginMethod, message(1, identity))
	if err != nil {
		return holder{}, err
	}
	certificate, err := base64.StdEncoding.DecodeString(string(only(answer, 1)))
	must(err)
	return hold(key, certificate), nil
}

func renew(g given, old holder, name string) (holder, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	vouching, err := x509.CreateCertificate(rand.Reader, template("CSR Key"), old.cert, &key.PublicKey, old.key)
	must(err)
	current := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.cert.Raw})
	proof := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vouching}), current...)
	csr := request(key, &x509.CertificateRequest{
		Subject: old.cert.Subject, DNSNames: old.cert.DNSNames, IPAddresses: old.cert.IPAddresses,
		ExtraExtensions: []pkix.Extension{{Id: renewal, Value: proof}},
	})
	asked := join(text(1, name), text(2, csr), text(3, base64.StdEncoding.EncodeToString(current)))
	answer, err := call(g.Main, g.Roots, &old, "", identityMethod+"OperateCertificates", join(text(1, name), message(2, asked), number(4, 402)))
	if err != nil {
		return holder{}, err
	}
	return hold(key, only(only(answer, 1), 5)), nil
}

func template(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now, NotAfter: now.Add(time.Hour)}
}

func request(key crypto.Signer, template *x509.CertificateRequest) string {
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	must(err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func hold(key *rsa.PrivateKey, text []byte) holder {
	block, _ := pem.Decode(text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	must(err)
	if !key.PublicKey.Equal(certificate.PublicKey) {
		must(errors.New("another key was certified"))
	}
	return holder{key, certificate}
}

func life(h holder) time.Duration { return h.cert.NotAfter.Sub(h.cert.NotBefore) }

func extension(h holder, id asn1.ObjectIdentifier) []byte {
	for _, found := range h.cert.Extensions {
		if found.Id.Equal(id) {
			return found.Value
		}
	}
	return nil
}

// A refusal with the domain code of its detail.
type refused struct {
	status, message string
	code            uint64
}

func (r *refused) Error() string { return r.status + " " + r.message }

// One gRPC call on a connection of its own.
func call(address, roots string, who *holder, token, method string, request []byte) ([]byte, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(roots))
	config := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	if who != nil {
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{who.cert.Raw}, PrivateKey: who.key}}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	framed := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...)
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+method, bytes.NewReader(framed))
	must(err)
	post.Header.Set("content-type", "application/grpc")
	post.Header.Set("te", "trailers")
	if token != "" {
		post.Header.Set("authorization", token)
	}
	response, err := transport.RoundTrip(post)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	head := response.Trailer
	if head.Get("grpc-status") == "" {
		head = response.Header
	}
	if status := head.Get("grpc-status"); status != "0" {
		details, err := base64.RawStdEncoding.DecodeString(head.Get("grpc-status-details-bin"))
		must(err)
		code := uint64(0)
		for _, digit := range only(only(only(details, 3), 2), 2) {
			code = code*256 + uint64(digit)
		}
		message, err := url.PathUnescape(head.Get("grpc-message"))
		must(err)
		return nil, &refused{status, message, code}
	}
	if len(body) < 5 {
		return nil, errors.New("no answer")
	}
	return body[5:], nil
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func number(field, value uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, field<<3), value)
}

func message(field uint64, content []byte) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, field<<3|2), uint64(len(content))), content...)
}

func text(field uint64, content string) []byte { return message(field, []byte(content)) }

// The first field of that number: its content, or a number's bytes without leading zeros.
func only(encoded []byte, wanted uint64) []byte {
	for len(encoded) > 0 {
		tag, n := binary.Uvarint(encoded)
		encoded = encoded[n:]
		value, n := binary.Uvarint(encoded)
		encoded = encoded[n:]
		content := new(big.Int).SetUint64(value).Bytes()
		if tag&7 == 2 {
			content, encoded = encoded[:value], encoded[value:]
		}
		if tag>>3 == wanted {
			return content
		}
	}
	return nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
