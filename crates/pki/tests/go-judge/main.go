// Command go-judge says what Go's crypto/x509, hence kube-apiserver, kubelet and etcd, thinks of certificate chains.
//
// It reads a JSON array of cases from standard input and writes a JSON array of verdicts: "" for a chain that is
// accepted, else the error.
package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"time"
)

type verifyCase struct {
	Leaf          string `json:"leaf"`
	Intermediates string `json:"intermediates"`
	Roots         string `json:"roots"`
	Now           int64  `json:"now"`
	Usage         string `json:"usage"`
}

func main() {
	var cases []verifyCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	verdicts := make([]string, 0, len(cases))
	for _, c := range cases {
		verdict := ""
		if err := judge(c); err != nil {
			verdict = err.Error()
		}
		verdicts = append(verdicts, verdict)
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		panic(err)
	}
}

func judge(c verifyCase) error {
	block, _ := pem.Decode([]byte(c.Leaf))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	usage := x509.ExtKeyUsageServerAuth
	if c.Usage == "client" {
		usage = x509.ExtKeyUsageClientAuth
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots:         pool(c.Roots),
		Intermediates: pool(c.Intermediates),
		CurrentTime:   time.Unix(c.Now, 0),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	})
	return err
}

func pool(text string) *x509.CertPool {
	certs := x509.NewCertPool()
	certs.AppendCertsFromPEM([]byte(text))
	return certs
}
