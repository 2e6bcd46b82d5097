// Command wl is the lab's workload: a client inside a pod that calls the API server every
// second with the pod's own credentials and writes down how each call went. What it writes
// is the evidence of whether a rotation was felt by the applications in the cluster.
//
// It keeps two series at once, for the two ways clients treat their trust anchors:
//
//	fresh   reads the certificate authorities and the token anew for each call and makes a
//	        new connection: sees a rotated authority as soon as the kubelet has put it in place
//	cached  reads the certificate authorities once, at its start, and the token every minute,
//	        and keeps its HTTP/2 connection, as client-go does: it trusts what it trusted at
//	        its start until its pod is restarted
//
// Each call adds a line to DIR/WORKLOAD.POD.SERIES.log:
//
//	1763757600.123 ok 200
//	1763757601.123 fail 401
//	1763757602.124 fail tls: failed to verify certificate: ...
//
// The time is when the call started, in seconds since 1970. A flag not given is taken from
// the environment where a variable is named:
//
//	-workload    WL_WORKLOAD     name of the workload, the first part of the file names
//	-pod         POD_NAME        name of the pod; without either, the host name
//	-dir         WL_DIR          where the files go (/var/log/wl)
//	-credentials WL_CREDENTIALS  directory with ca.crt and token; for a legacy token, the
//	                             place where its Secret is mounted
//	-series      WL_SERIES       which series to keep (fresh,cached)
//	-url         WL_URL          what to get (the namespace "default" of this cluster)
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	interval      = time.Second
	callTimeout   = 3 * time.Second
	tokenLifetime = time.Minute // how long the cached series uses a token it has read
)

func main() {
	hostname, _ := os.Hostname()
	workload := flag.String("workload", environment("WL_WORKLOAD", "wl"), "name of the workload")
	pod := flag.String("pod", environment("POD_NAME", hostname), "name of the pod")
	dir := flag.String("dir", environment("WL_DIR", "/var/log/wl"), "directory of the log files")
	credentials := flag.String("credentials",
		environment("WL_CREDENTIALS", "/var/run/secrets/kubernetes.io/serviceaccount"),
		"directory with ca.crt and token")
	series := flag.String("series", environment("WL_SERIES", "fresh,cached"), "series to keep")
	url := flag.String("url", environment("WL_URL", defaultURL()), "what to get")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	failed := make(chan error)
	for _, name := range strings.Split(*series, ",") {
		caller, err := newCaller(name, *credentials, *url)
		if err != nil {
			fail(err)
		}
		path := filepath.Join(*dir, *workload+"."+*pod+"."+name+".log")
		go func() { failed <- record(ctx, path, caller) }()
	}
	select {
	case err := <-failed:
		fail(err)
	case <-ctx.Done():
	}
}

// record makes a call each second and appends its outcome to the file.
func record(ctx context.Context, path string, call caller) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for {
		start := time.Now()
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		status, err := call(callCtx)
		cancel()
		if ctx.Err() != nil {
			return nil // we were told to stop: the call's failure is our own doing
		}
		outcome := "ok 200"
		switch {
		case err != nil:
			outcome = "fail " + strings.Join(strings.Fields(err.Error()), " ")
		case status != http.StatusOK:
			outcome = fmt.Sprintf("fail %d", status)
		}
		seconds := float64(start.UnixMilli()) / 1000
		if _, err := fmt.Fprintf(file, "%.3f %s\n", seconds, outcome); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(start.Add(interval))):
		}
	}
}

// A caller makes one call and returns the HTTP status.
type caller func(context.Context) (int, error)

func newCaller(series, credentials, url string) (caller, error) {
	switch series {
	case "fresh":
		return func(ctx context.Context) (int, error) {
			pool, err := readAuthorities(credentials)
			if err != nil {
				return 0, err
			}
			token, err := readToken(credentials)
			if err != nil {
				return 0, err
			}
			transport := newTransport(pool)
			defer transport.CloseIdleConnections()
			return get(ctx, transport, url, token)
		}, nil
	case "cached":
		return newCachedCaller(credentials, url)
	}
	return nil, fmt.Errorf("there is no series %q, only fresh and cached", series)
}

func newCachedCaller(credentials, url string) (caller, error) {
	pool, err := readAuthorities(credentials)
	if err != nil {
		return nil, err // such a client does not start; the kubelet will try again
	}
	transport := newTransport(pool)
	var token string
	var readAt time.Time
	return func(ctx context.Context) (int, error) {
		if time.Since(readAt) > tokenLifetime {
			// A token that cannot be read leaves the previous one in use, as in client-go.
			fresh, err := readToken(credentials)
			if err != nil && token == "" {
				return 0, err
			}
			if err == nil {
				token, readAt = fresh, time.Now()
			}
		}
		return get(ctx, transport, url, token)
	}, nil
}

func newTransport(authorities *x509.CertPool) *http.Transport {
	return &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		// client-go's figures for noticing that a kept connection is dead.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

func get(ctx context.Context, transport *http.Transport, url, token string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	// A connection is only kept when the answer was read to its end.
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0, err
	}
	return response.StatusCode, nil
}

func readAuthorities(credentials string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(filepath.Join(credentials, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in ca.crt")
	}
	return pool, nil
}

func readToken(credentials string) (string, error) {
	token, err := os.ReadFile(filepath.Join(credentials, "token"))
	return strings.TrimSpace(string(token)), err
}

func defaultURL() string {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), environment("KUBERNETES_SERVICE_PORT", "443")
	return "https://" + net.JoinHostPort(host, port) + "/api/v1/namespaces/default"
}

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "wl:", err)
	os.Exit(1)
}
