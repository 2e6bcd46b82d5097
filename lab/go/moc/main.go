// Command moc is a client of an authority by way of the vendor's published Go library. It goes through a client's life, and
// prints a line for each point: "PASS" or "FAIL", and what was tried.
//
// The library renews at port 55000 and nowhere else, so that the authority has to be served there.
package main

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	wssdclient "github.com/microsoft/moc-sdk-for-go/pkg/client"
	"github.com/microsoft/moc-sdk-for-go/services/admin/health"
	"github.com/microsoft/moc-sdk-for-go/services/admin/version"
	"github.com/microsoft/moc-sdk-for-go/services/security"
	"github.com/microsoft/moc-sdk-for-go/services/security/authentication"
	"github.com/microsoft/moc-sdk-for-go/services/security/certificate"
	"github.com/microsoft/moc-sdk-for-go/services/security/identity"
	"github.com/microsoft/moc-sdk-for-go/services/security/role"
	"github.com/microsoft/moc-sdk-for-go/services/security/roleassignment"
	"github.com/microsoft/moc/pkg/auth"
	"github.com/microsoft/moc/pkg/certs"
	"github.com/microsoft/moc/pkg/config"
	"github.com/microsoft/moc/pkg/errors"
	"github.com/microsoft/moc/pkg/errors/codes"
	"github.com/microsoft/moc/pkg/marshal"
)

// How long one call may take on loopback, with both sides on a busy machine.
const callLimit = 20 * time.Second

// The identity that the administrator makes, uses up and revokes.
const second = "go-client"

// site is where the authority is, and what belongs to this program.
type site struct {
	kubecert  string
	directory string
	work      string
	location  string
	login     auth.LoginConfig
	failed    int
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: moc KUBECERT AUTHORITY-DIRECTORY WORK-DIRECTORY")
		os.Exit(2)
	}
	s := &site{kubecert: os.Args[1], directory: os.Args[2], work: os.Args[3], location: "plant-7"}
	s.logIn()
	s.renew()
	token := s.identities()
	s.rights(token)
	s.certificates()
	s.roles()
	s.health()
	s.revocation()
	s.rotationOfTheCA()
	s.end()
	fmt.Println("DONE")
	if s.failed > 0 {
		os.Exit(1)
	}
}

// holds prints a point. What cannot go on without it ends the program.
func (s *site) holds(point string, err error, facts ...bool) {
	for number, fact := range facts {
		if err == nil && !fact {
			err = fmt.Errorf("fact %d of it is not so", number+1)
		}
	}
	if err == nil {
		fmt.Println("PASS", point)
		return
	}
	s.failed++
	fmt.Printf("FAIL %s: %v (code %d)\n", point, err, errors.GetMocErrorCode(err).ToUint32())
}

// must is holds for what everything after it needs.
func (s *site) must(point string, err error) {
	s.need(point, err)
	s.holds(point, nil)
}

// need is must for what is no point of its own.
func (s *site) need(what string, err error) {
	if err != nil {
		s.holds(what, err)
		os.Exit(1)
	}
}

// refused prints a point that holds if there is an error that the library's own function knows.
func (s *site) refused(point string, err error, is func(error) bool) {
	switch {
	case err == nil:
		s.holds(point, fmt.Errorf("it was not refused"))
	case !is(err):
		s.holds(point, fmt.Errorf("it is refused in other words: %w", err))
	default:
		s.holds(fmt.Sprintf("%s (%v)", point, err), nil)
	}
}

func coded(code codes.MocCode) func(error) bool {
	return func(err error) bool { return errors.GetMocErrorCode(err) == code }
}

func context20() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), callLimit)
}

// as makes the access file of that name the one that the library uses, on a connection of its own.
func (s *site) as(name string) auth.Authorizer {
	wssdclient.ClearConnectionCache()
	os.Setenv("WSSD_CONFIG_PATH", s.accessFile(name))
	authorizer, err := auth.NewAuthorizerFromEnvironment(s.login.CloudFqdn)
	s.need("the access file of "+name+" can be used", err)
	return authorizer
}

func (s *site) accessFile(name string) string {
	return filepath.Join(s.work, name+".json")
}

func (s *site) logInWith(name string, login auth.LoginConfig) error {
	wssdclient.ClearConnectionCache()
	os.Setenv("WSSD_CONFIG_PATH", s.accessFile(name))
	client, err := authentication.NewAuthenticationClientAuthMode(login.CloudFqdn, login)
	if err != nil {
		return err
	}
	ctx, cancel := context20()
	defer cancel()
	_, err = client.LoginWithConfig(ctx, "", login, false)
	return err
}

func (s *site) identitiesAs(name string) *identity.IdentityClient {
	client, err := identity.NewIdentityClient(s.login.CloudFqdn, s.as(name))
	s.need("a client of identities can be made", err)
	return client
}

func (s *site) own(name string) *x509.Certificate {
	access := auth.WssdConfig{}
	s.need("the access file of "+name+" can be read", marshal.FromJSONFile(s.accessFile(name), &access))
	text, err := marshal.FromBase64(access.ClientCertificate)
	s.need("its certificate is in base64", err)
	own, err := certs.DecodeCertPEM([]byte(text))
	s.need("its certificate can be parsed", err)
	return own
}

// runs kubecert on the authority's own directory.
func (s *site) owner(words ...string) error {
	command := exec.Command(s.kubecert, append([]string{"authority"}, append(words, "--dir", s.directory)...)...)
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

func (s *site) logIn() {
	file := filepath.Join(s.directory, "admin-login.yaml")
	s.need("the login file can be read", config.LoadYAMLFile(file, &s.login))
	s.must("login as administrator", s.logInWith("admin", s.login))
}

// sleepUntilDue waits until 30 % of a certificate's life and a second less are left.
func sleepUntilDue(own *x509.Certificate) {
	life := own.NotAfter.Sub(own.NotBefore)
	time.Sleep(time.Until(own.NotAfter.Add(-life * 3 / 10).Add(time.Second)))
}

func (s *site) renew() {
	renew := func() error { return auth.RenewCertificates(s.login.CloudFqdn, s.accessFile("admin")) }
	first := s.own("admin")
	s.holds("what is not due is not renewed", renew(), s.own("admin").Equal(first))
	sleepUntilDue(first)
	err := renew()
	next := s.own("admin")
	life := func(own *x509.Certificate) time.Duration { return own.NotAfter.Sub(own.NotBefore) }
	s.holds("renewal: another serial, another key, the same length of life", err,
		next.SerialNumber.Cmp(first.SerialNumber) != 0,
		string(next.RawSubjectPublicKeyInfo) != string(first.RawSubjectPublicKeyInfo),
		life(next) == life(first))
}

func (s *site) wanted() *security.Identity {
	name, lasts := second, int64(3600)
	return &security.Identity{
		Name: &name, TokenExpiryInSeconds: &lasts, Location: &s.location,
		IdentityProperties: &security.IdentityProperties{ClientType: auth.ControlPlane},
	}
}

// identities creates and rotates one, and returns its newest token.
func (s *site) identities() string {
	client := s.identitiesAs("admin")
	ctx, cancel := context20()
	defer cancel()
	could, err := client.Precheck(ctx, []*security.Identity{s.wanted()})
	s.holds("an identity could be created", err, could)
	made, err := client.CreateOrUpdate(ctx, "", second, s.wanted())
	s.must("an identity is created", err)
	s.holds("with a token, its type and the authority's address", nil,
		made.Token != nil && *made.Token != "",
		made.ClientType == auth.ControlPlane,
		*made.CloudFqdn == s.login.CloudFqdn, *made.CloudPort == 55000, *made.CloudAuthPort == 65000)
	_, err = client.CreateOrUpdate(ctx, "", second, s.wanted())
	s.refused("the same again is refused", err, errors.IsAlreadyExists)
	_, err = client.Precheck(ctx, []*security.Identity{s.wanted()})
	s.refused("and that is known beforehand", err, errors.IsAlreadyExists)
	list, err := client.Get(ctx, "", second)
	s.holds("it can be looked at", err, err == nil && len(*list) == 1 && *(*list)[0].Name == second)
	all, err := client.Get(ctx, "", "")
	s.holds("all can be listed", err, err == nil && len(*all) == 2)
	rotated, err := client.Rotate(ctx, "", second)
	s.must("it is rotated", err)
	s.holds("to another token", nil, *rotated.Token != *made.Token)
	s.refused("login with the old token is refused", s.logInWith(second, s.loginOf(*made.Token)), tokenRequired)
	s.must("login with the new token", s.logInWith(second, s.loginOf(*rotated.Token)))
	return *rotated.Token
}

func (s *site) loginOf(token string) auth.LoginConfig {
	login := s.login
	login.Name, login.Token = second, token
	return login
}

func tokenRequired(err error) bool {
	return err != nil && strings.Contains(err.Error(), "Valid Token Required")
}

func (s *site) rights(token string) {
	client := s.identitiesAs(second)
	ctx, cancel := context20()
	defer cancel()
	own, err := client.Get(ctx, "", second)
	s.holds("one may look at oneself", err, err == nil && len(*own) == 1)
	_, err = client.Rotate(ctx, "", "admin")
	s.refused("without the right, nobody is rotated", err, errors.IsAccessDenied)
	_, err = client.Precheck(ctx, []*security.Identity{s.wanted()})
	s.refused("nor asked beforehand", err, errors.IsAccessDenied)
	_, _, err = s.certificatesAs(second).Sign(ctx, "", "lb-1", request())
	s.refused("without the right, nothing is signed", err, errors.IsAccessDenied)
	other := s.loginOf(token)
	other.Name = "admin"
	s.refused("a token is not another identity's", s.logInWith("other", other), tokenRequired)
}

func (s *site) certificatesAs(name string) *certificate.CertificateClient {
	client, err := certificate.NewCertificateClient(s.login.CloudFqdn, s.as(name))
	s.need("a client of certificates can be made", err)
	return client
}

func request() *security.CertificateRequest {
	name := "lb-1"
	return &security.CertificateRequest{Name: &name, Attributes: &security.CertificateRequestAttributes{
		DNSNames: &[]string{"lb-1.example"}, IPs: &[]string{"10.0.0.9/32"},
	}}
}

func (s *site) certificates() {
	client := s.certificatesAs("admin")
	ctx, cancel := context20()
	defer cancel()
	asked := func(kind string) []*security.Certificate {
		name := "lb-1"
		return []*security.Certificate{{Name: &name, Type: &kind}}
	}
	could, err := client.Precheck(ctx, asked("Server"))
	s.holds("a server's certificate could be had", err, could)
	_, err = client.Precheck(ctx, asked("Client"))
	s.refused("a client's could not, by itself", err, errors.IsNotSupported)
	signed, key, err := client.Sign(ctx, "", "lb-1", request())
	s.must("a certificate is signed", err)
	leaf, err := certs.DecodeCertPEM([]byte(*signed.Cer))
	s.need("it can be parsed", err)
	private, err := certs.DecodePrivateKeyPEM([]byte(key))
	s.need("its key can be parsed", err)
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	s.need("its public key can be encoded", err)
	options := x509.VerifyOptions{Roots: s.roots(), DNSName: "lb-1.example"}
	_, err = leaf.Verify(options)
	s.holds("it is the key's, and by the root of the login file", err,
		string(public) == string(leaf.RawSubjectPublicKeyInfo), leaf.VerifyHostname("10.0.0.9") == nil)
	_, err = client.Get(ctx, "", "lb-1")
	s.refused("it is not kept", err, errors.IsNotSupported)
	server, name := "Server", "lb-1"
	_, err = client.CreateOrUpdate(ctx, "", name, &security.Certificate{Name: &name, Type: &server})
	s.refused("nor made for a key of the authority's", err, errors.IsNotSupported)
}

func (s *site) roots() *x509.CertPool {
	roots := x509.NewCertPool()
	if text, err := base64.StdEncoding.DecodeString(s.login.Certificate); err == nil {
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if root, err := x509.ParseCertificate(block.Bytes); err == nil {
				roots.AddCert(root)
			}
		}
	}
	return roots
}

func (s *site) roles() {
	fqdn, admin := s.login.CloudFqdn, s.as("admin")
	client, err := role.NewRoleClient(fqdn, admin)
	s.need("a client of roles can be made", err)
	ctx, cancel := context20()
	defer cancel()
	all, err := client.Get(ctx, "")
	s.holds("roles can be listed", err, err == nil && len(*all) > 5)
	signer, err := client.Get(ctx, "CertificateSigner")
	s.holds("and looked at, with their actions", err, err == nil && len(*signer) == 1 &&
		len(*(*signer)[0].Permissions) == 1 && len(*(*(*signer)[0].Permissions)[0].Actions) == 2)
	_, err = client.Get(ctx, "King")
	s.refused("an unknown role is not found", err, errors.IsNotFound)
	king := "King"
	_, err = client.CreateOrUpdate(ctx, king, &security.Role{
		Name: &king, RoleProperties: &security.RoleProperties{Permissions: &[]security.RolePermission{}},
	})
	s.refused("none can be made", err, errors.IsNotSupported)
	assignments, err := roleassignment.NewRoleAssignmentClient(fqdn, admin)
	s.need("a client of role assignments can be made", err)
	assignment := func(location string) *security.RoleAssignment {
		name, reader := second, "IdentityReader"
		return &security.RoleAssignment{RoleAssignmentProperties: &security.RoleAssignmentProperties{
			IdentityName: &name, RoleName: &reader, Scope: &security.Scope{Location: &location},
		}}
	}
	_, err = assignments.CreateOrUpdate(ctx, assignment("elsewhere"))
	s.refused("a role for another place is not given for this one", err, errors.IsNotSupported)
	_, err = assignments.CreateOrUpdate(ctx, assignment(s.location))
	s.holds("a role is given", err)
	list, err := s.identitiesAs(second).Get(ctx, "", "")
	s.holds("and counts at once", err, err == nil && len(*list) == 2)
}

func (s *site) health() {
	fqdn, admin := s.login.CloudFqdn, s.as("admin")
	client, err := health.NewHealthClient(fqdn, admin)
	s.need("a client of health can be made", err)
	ctx, cancel := context20()
	defer cancel()
	s.holds("health can be asked for", client.CheckHealth(ctx, 5))
	info, err := client.GetAgentInfo(ctx)
	s.holds("and who the agent is", err, err == nil && info.GetName() != "")
	id, err := client.GetDeploymentId(ctx)
	s.holds("with the deployment's id", err, len(id) == 36)
	versions, err := version.NewVersionClient(fqdn, admin)
	s.need("a client of versions can be made", err)
	own, _, err := versions.GetVersion(ctx)
	s.holds(fmt.Sprintf("and its version (%s)", own), err, own != "")
	client, err = health.NewHealthClient(fqdn, s.as(second))
	s.need("a client of health can be made", err)
	s.refused("without the right, health is not told", client.CheckHealth(ctx, 5), errors.IsAccessDenied)
}

func (s *site) revocation() {
	client := s.identitiesAs("admin")
	ctx, cancel := context20()
	defer cancel()
	// A token from before, whose time is not over.
	rotated, err := client.Rotate(ctx, "", second)
	s.must("the identity is rotated once more", err)
	s.must("login with its token", s.logInWith(second, s.loginOf(*rotated.Token)))
	gone, err := s.identitiesAs("admin").Revoke(ctx, "", second)
	s.holds("the identity is revoked", err, err == nil && gone.Revoked)
	_, err = s.identitiesAs(second).Get(ctx, "", second)
	s.refused("it may do nothing any more", err, errors.IsRevoked)
	s.refused("nor log in", s.logInWith("again", s.loginOf(*rotated.Token)), tokenRequired)
	sleepUntilDue(s.own(second))
	err = auth.RenewCertificates(s.login.CloudFqdn, s.accessFile(second))
	s.refused("nor renew", err, errors.IsRevoked)
}

func (s *site) rotationOfTheCA() {
	// The certificate of before may have ended meanwhile.
	s.must("login before the CA's rotation", s.logInWith("admin", s.login))
	before := s.own("admin")
	s.must("the CA is rotated, with an overlap", s.owner("rotate", "--overlap", "30d"))
	s.holds("the old root and the old certificate go on", s.look())
	sleepUntilDue(before)
	err := auth.RenewCertificates(s.login.CloudFqdn, s.accessFile("admin"))
	s.holds("renewal with the old root: by the new CA", err, s.own("admin").Issuer.String() != before.Issuer.String())
	s.holds("the old root and a certificate of the new CA go on", s.look())
	s.holds("login with the old root", s.logInWith("old", s.login))
	s.must("the overlap is ended", s.owner("rotate", "--finish"))
	s.refused("the old root leads nowhere", s.look(), func(err error) bool {
		return strings.Contains(err.Error(), "unknown authority")
	})
	file := filepath.Join(s.work, "new-login.yaml")
	s.must("a new login file is made", s.owner("identity", "rotate", "admin", "--out", file))
	s.login = auth.LoginConfig{}
	s.need("it can be read", config.LoadYAMLFile(file, &s.login))
	s.must("login with it", s.logInWith("admin", s.login))
	s.holds("the new root goes on", s.look())
}

// look is any call as administrator.
func (s *site) look() error {
	client := s.identitiesAs("admin")
	ctx, cancel := context.WithTimeout(context.Background(), callLimit/2)
	defer cancel()
	_, err := client.Get(ctx, "", "admin")
	return err
}

func (s *site) end() {
	own := s.own("admin")
	time.Sleep(time.Until(own.NotAfter.Add(2 * time.Second)))
	err := auth.RenewCertificates(s.login.CloudFqdn, s.accessFile("admin"))
	s.refused("what has ended is not renewed", err, coded(codes.Expired))
	s.holds("but logging in brings another", s.logInWith("admin", s.login))
}
