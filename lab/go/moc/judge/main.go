// Command judge serves the wire API by the vendor's published definitions and its published CA, has kubecert be a client of that, and
// judges each request as it comes. It prints a line for each point: "PASS" or "FAIL", and what was looked at.
//
// The server presents the root itself, as old deployments have it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/golang/protobuf/ptypes/wrappers"
	"github.com/microsoft/moc/pkg/certs"
	"github.com/microsoft/moc/pkg/errors"
	"github.com/microsoft/moc/rpc/cloudagent/admin"
	"github.com/microsoft/moc/rpc/cloudagent/security"
	"github.com/microsoft/moc/rpc/common"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// How long certificates are good. Nothing waits for their end: what is to be renewed is renewed by force.
const goodFor = time.Hour

// How long one command of kubecert's may take, on a busy machine.
const commandLimit = 60 * time.Second

// The identity that logs in, the one that is asked for, and one that nobody knows.
const (
	own     = "csi"
	unknown = "none"
)

// judge is the server and what it has seen.
type judge struct {
	security.UnimplementedAuthenticationAgentServer
	security.UnimplementedIdentityAgentServer
	admin.UnimplementedCredentialMonitorAgentServer

	ca   *certs.CertificateAuthority
	root []byte
	// The token that the login file holds.
	token string

	lock    sync.Mutex
	revoked bool
	failed  int
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: judge KUBECERT WORK-DIRECTORY")
		os.Exit(2)
	}
	j := &judge{}
	if err := j.serve(filepath.Join(os.Args[2], "login.yaml")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client := &client{judge: j, kubecert: os.Args[1], work: os.Args[2]}
	client.live()
	fmt.Println("DONE")
	if j.failed > 0 {
		os.Exit(1)
	}
}

// point tells whether something is as it should be.
func (j *judge) point(passed bool, format string, arguments ...any) {
	word := "PASS"
	if !passed {
		word = "FAIL"
		j.lock.Lock()
		j.failed++
		j.lock.Unlock()
	}
	fmt.Printf("%s %s\n", word, fmt.Sprintf(format, arguments...))
}

// IsRevoked is asked by the published CA about each certificate.
func (j *judge) IsRevoked(*x509.Certificate) error {
	j.lock.Lock()
	defer j.lock.Unlock()
	if j.revoked {
		return errors.Wrapf(errors.Revoked, "its identity was revoked")
	}
	return nil
}

func (j *judge) Login(ctx context.Context, r *security.AuthenticationRequest) (*security.AuthenticationResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	j.point(len(md["authorization"]) == 1 && md["authorization"][0] == j.token, "a login brings the token as it is, with no word before it")
	j.point(r.Identity.GetName() == own, "a login names its identity")
	pem := r.Identity.GetCertificates()[""]
	request, err := certs.DecodeCertRequestPEM([]byte(pem))
	if err != nil {
		j.point(false, "a login brings a signing request: %v", err)
		return nil, errors.GetGRPCError(errors.Wrapf(errors.InvalidInput, "no request"))
	}
	j.point(request.CheckSignature() == nil && request.Subject.CommonName == own, "a login's signing request is of its identity, and of its key")
	j.point(request.SignatureAlgorithm == x509.SHA256WithRSA, "it is signed by RSA with SHA-256")
	j.point(len(request.DNSNames) > 0 && request.DNSNames[0] == "localhost", "its names begin with localhost")
	signed, err := j.sign(pem)
	if err != nil {
		return nil, err
	}
	return &security.AuthenticationResponse{Token: base64.StdEncoding.EncodeToString(signed), Result: &wrappers.BoolValue{Value: true}}, nil
}

func (j *judge) OperateCertificates(_ context.Context, r *security.IdentityCertificateRequest) (*security.IdentityCertificateResponse, error) {
	renewal := r.OperationType == common.ProviderAccessOperation_IdentityCertificate_Renew
	j.point(renewal && r.IdentityName == own && len(r.CSR) == 1, "a renewal is one, of its identity")
	if len(r.CSR) != 1 {
		return nil, errors.GetGRPCError(errors.Wrapf(errors.InvalidInput, "no request"))
	}
	old, err := base64.StdEncoding.DecodeString(r.CSR[0].OldCertificate)
	if err == nil {
		_, err = certs.DecodeCertPEM(old)
	}
	j.point(err == nil, "a renewal brings the old certificate, in base64 of PEM")
	j.point(r.CSR[0].Validity == 0, "it leaves the length of life to the authority")
	signed, err := j.sign(r.CSR[0].Csr)
	j.lock.Lock()
	revoked := j.revoked
	j.lock.Unlock()
	j.point((err == nil) != revoked, "the published CA renews by its request, unless it was revoked")
	if err != nil {
		return nil, err
	}
	return &security.IdentityCertificateResponse{Certificates: []*security.Certificate{{Certificate: string(signed)}}}, nil
}

func (j *judge) Invoke(_ context.Context, r *security.IdentityRequest) (*security.IdentityResponse, error) {
	for _, asked := range r.Identitys {
		if asked.Name == unknown {
			return nil, errors.GetGRPCError(errors.Wrapf(errors.NotFound, "no identity %s", unknown))
		}
	}
	return &security.IdentityResponse{Identitys: []*security.Identity{j.identity()}}, nil
}

func (j *judge) Operate(_ context.Context, r *security.IdentityOperationRequest) (*security.IdentityResponse, error) {
	whole := len(r.Identities) == 1 && r.Identities[0].Id == j.identity().Id && r.Identities[0].TokenExpiryInSeconds == 77
	j.point(whole, "%s brings the identity as it was got", r.OperationType)
	if r.OperationType == common.ProviderAccessOperation_Identity_Revoke {
		j.lock.Lock()
		j.revoked = true
		j.lock.Unlock()
	}
	return &security.IdentityResponse{Identitys: []*security.Identity{j.identity()}}, nil
}

func (j *judge) Get(context.Context, *admin.CredentialMonitorRequest) (*admin.CredentialMonitorResponse, error) {
	monitor := &admin.CredentialMonitor{Certificate: string(j.root), Status: admin.CertificateStatus_Overlap}
	return &admin.CredentialMonitorResponse{CredentialMonitor: monitor}, nil
}

func (j *judge) identity() *security.Identity {
	return &security.Identity{
		Name: own, Id: "1", Token: j.token, ClientType: common.ClientType_ADMIN, TokenExpiryInSeconds: 77,
		CloudFqdn: "localhost", CloudPort: 55000, CloudAuthPort: 65000,
	}
}

func (j *judge) sign(request string) ([]byte, error) {
	signed, err := j.ca.SignRequest([]byte(request), nil, &certs.SignConfig{Offset: goodFor, Identity: "1"})
	if err != nil {
		return nil, errors.GetGRPCError(err)
	}
	return signed, nil
}

// serve opens both ports, and writes a login file.
func (j *judge) serve(login string) error {
	root, key, err := certs.GenerateClientCertificate("old-deployment")
	if err != nil {
		return err
	}
	pair := tls.Certificate{Certificate: [][]byte{root.Raw}, PrivateKey: key, Leaf: root}
	if j.ca, err = certs.NewCertificateAuthority(&certs.CAConfig{RootSigner: &pair, Revocation: j}); err != nil {
		return err
	}
	j.root = certs.EncodeCertPEM(root)
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, time.Now().Unix(), time.Now().Add(goodFor).Unix())
	j.token = "aaaa." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".bbbb"
	text := fmt.Sprintf("name: %s\ntoken: %s\ncertificate: %s\nclienttype: Admin\ncloudfqdn: localhost\ncloudport: 55000\ncloudauthport: 65000\ntype: CA-Signed\n",
		own, j.token, base64.StdEncoding.EncodeToString(j.root))
	if err := os.WriteFile(login, []byte(text), 0o600); err != nil {
		return err
	}
	for _, port := range []string{"55000", "65000"} {
		config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		if port == "55000" {
			config.ClientAuth = tls.RequestClientCert
			config.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error { return j.ca.VerifyClientCertificate(raw) }
		}
		server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
		security.RegisterAuthenticationAgentServer(server, j)
		security.RegisterIdentityAgentServer(server, j)
		admin.RegisterCredentialMonitorAgentServer(server, j)
		listener, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			return err
		}
		go func() {
			if err := server.Serve(listener); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}()
	}
	return nil
}

// client is kubecert, as its users call it.
type client struct {
	judge    *judge
	kubecert string
	work     string
}

// live goes through a client's life.
func (c *client) live() {
	login, access := c.path("login.yaml"), c.path("access.json")
	who := []string{"--access-file", access, "--login-file", login}
	c.works("log in", "login", "--login-file", login, "--access-file", access)
	c.works("leave alone what is not due", append([]string{"renew"}, who...)...)
	c.works("renew by force", append([]string{"renew", "--force"}, who...)...)
	c.works("list identities", append([]string{"identity", "list"}, who...)...)
	c.works("rotate an identity", append([]string{"identity", "rotate", own, "--out", c.path("new.yaml")}, who...)...)
	c.refused("no identity none", "rotate an identity that is not known", append([]string{"identity", "rotate", unknown, "--out", c.path("none.yaml")}, who...)...)
	c.works("revoke an identity", append([]string{"identity", "revoke", own}, who...)...)
	c.refused("revoked", "renew what was revoked", append([]string{"renew", "--force"}, who...)...)
}

func (c *client) works(what string, words ...string) {
	said, err := c.run(words)
	c.judge.point(err == nil, "kubecert can %s%s", what, shown(said, err))
}

func (c *client) refused(reason, what string, words ...string) {
	said, err := c.run(words)
	told := strings.Contains(strings.ToLower(said), strings.ToLower(reason))
	c.judge.point(err != nil && told, "kubecert cannot %s, and says why: %s", what, oneLine(said))
}

func (c *client) run(words []string) (string, error) {
	limited, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	said, err := exec.CommandContext(limited, c.kubecert, append([]string{"authority"}, words...)...).CombinedOutput()
	return string(said), err
}

func (c *client) path(name string) string { return filepath.Join(c.work, name) }

// shown is what a command that failed has said.
func shown(said string, err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf(" (%v: %s)", err, oneLine(said))
}

func oneLine(said string) string { return strings.Join(strings.Fields(said), " ") }
