//! The examples at the end of each verb's help.

/// For the program.
pub(super) const TOP: &str = "\
Examples:
  kubecert demo
  kubecert check -m _output/lab/apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa
  kubecert rotate -m _output/lab/apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa

Exit codes:
  0  done    1  failed    2  wrong usage    3  findings need attention (check, verify)
  4  stopped at a safe point; `kubecert resume` goes on
  rotate-certs knows 0 and 1 only, as its ancestor does.";

/// For `check`.
pub(super) const CHECK: &str = "\
Examples:
  kubecert check -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa
  kubecert check -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa --within 90 -o json
  kubecert check -c cluster.yaml

Exit code 3 says that something needs attention: it has ended, ends soon, is not what the running
process presents, or could not be read.";

/// For `assess`.
pub(super) const ASSESS: &str = "\
Examples:
  kubecert assess --off-for 35d --since-update 100d
  kubecert assess --off-for 3d --profile tables-2024
  kubecert assess --measured --site plant-7.yaml --prometheus plant-7.prom -o json

The first verdict of each layer is what the vendor's documents say of an outage of that length, the second what its
credentials themselves say. Exit code 3 says that something is hit, or cannot be known.";

/// For `shutdown-check`.
pub(super) const SHUTDOWN_CHECK: &str = "\
Examples:
  kubecert shutdown-check --for 20d --site plant-7.yaml

Exit code 3 says that something would end before, or cannot be known.";

/// For `doctor`.
pub(super) const DOCTOR: &str = "\
Examples:
  kubecert doctor --site plant-7.yaml
  kubecert doctor --site plant-7.yaml -o json

Where the site file names kubeconfigs, it looks at those Kubernetes APIs, too, and changes nothing there.
Each trouble has an id that stays. Exit code 3 says that there is one.";

/// For `authority`.
pub(super) const AUTHORITY: &str = "\
Examples:
  kubecert authority init --dir /var/lib/kubecert-authority --host ca-1.example
  kubecert authority serve --dir /var/lib/kubecert-authority
  kubecert authority login --login-file admin-login.yaml --access-file admin.json
  kubecert authority identity create csi --out csi-login.yaml \\
      --access-file admin.json --login-file admin-login.yaml
  kubecert authority renew --access-file admin.json --login-file admin-login.yaml

It speaks the public API of the vendor's cloud agent as far as credentials go. It is not the
vendor's agent: docs/aks-arc.md says what is public and what is assumed.";

/// For `authority init`.
pub(super) const AUTHORITY_INIT: &str = "\
Examples:
  kubecert authority init --dir /var/lib/kubecert-authority --host ca-1.example --host 10.0.0.4
  kubecert authority init --dir lab --host localhost --certificates-last 1h --tokens-last 1h

The directory holds the CA's key and is its owner's alone (0700, files 0600).";

/// For `authority serve`.
pub(super) const AUTHORITY_SERVE: &str = "\
Examples:
  kubecert authority serve --dir /var/lib/kubecert-authority
  kubecert authority serve --dir lab --listen 127.0.0.1 --port 0 --login-port 0 -o json

Both ports are told on standard output once they are open. Changes by other commands on the same
directory count at once, on open connections too. Clients of the published library renew at port
55000 and nowhere else.";

/// For `authority login`.
pub(super) const AUTHORITY_LOGIN: &str = "\
Examples:
  kubecert authority login --login-file csi-login.yaml --access-file csi.json

An access file that is there stays as it was unless the login succeeds.";

/// For `authority renew`.
pub(super) const AUTHORITY_RENEW: &str = "\
Examples:
  kubecert authority renew --access-file csi.json --login-file csi-login.yaml
  kubecert authority renew --access-file csi.json --server ca-1.example --force

Meant for a timer: while nothing is due, nothing changes. A certificate that has ended cannot be
renewed; with a login file whose token is good, it logs in again.";

/// For `authority identity`.
pub(super) const AUTHORITY_IDENTITY: &str = "\
Examples:
  kubecert authority identity list --dir /var/lib/kubecert-authority
  kubecert authority identity create csi --out csi-login.yaml --dir /var/lib/kubecert-authority
  kubecert authority identity rotate csi --out csi-login.yaml \\
      --access-file admin.json --server ca-1.example
  kubecert authority identity revoke csi --access-file admin.json --server ca-1.example
  kubecert authority identity assign csi --role IdentityReader --dir /var/lib/kubecert-authority

A token is in its login file and nowhere else.";

/// For `authority role`.
pub(super) const AUTHORITY_ROLE: &str = "\
Examples:
  kubecert authority role list --dir /var/lib/kubecert-authority
  kubecert authority role list CertificateSigner --access-file admin.json --server ca-1.example -o json

The names of roles are the wire API's; what each of them allows is not public, and assumed.";

/// For `authority rotate`.
pub(super) const AUTHORITY_ROTATE: &str = "\
Examples:
  kubecert authority rotate --dir /var/lib/kubecert-authority --overlap 30d
  kubecert authority rotate --dir /var/lib/kubecert-authority --finish

During the overlap, clients that know either CA go on. `authority renew` and new login files bring
them the new one.";

/// For `authority status`.
pub(super) const AUTHORITY_STATUS: &str = "\
Examples:
  kubecert authority status --dir /var/lib/kubecert-authority
  kubecert authority status --access-file admin.json --server ca-1.example -o json

How it is can be seen by administrators and identities with a role such as HealthReader. Exit code 3
says that the CA should be replaced: 90 days or less, or a quarter of its life, are left.";

/// For `plan`.
pub(super) const PLAN: &str = "\
Examples:
  kubecert plan -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa --out plan.json
  kubecert plan -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa --why renew --renew-within 90
  kubecert plan -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa --why extend-ca -o json
  kubecert plan -c cluster.yaml

Nothing is changed. A plan file holds no secret. The plan names everything that is restarted,
and why.";

/// For `rotate`.
pub(super) const ROTATE: &str = "\
Examples:
  kubecert rotate -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa
  kubecert rotate -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa --why renew
  kubecert rotate -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa --scope front-proxy
  kubecert rotate -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa --plan plan.json --yes
  kubecert rotate -c cluster.yaml
  kubecert rotate -c cluster.yaml --why renew --csr-out requests
  kubecert rotate -c cluster.yaml --why renew --certificates requests

Where a CA's key is kept elsewhere: --csr-out makes keys and signing requests and touches nothing;
once NAME.crt lies beside each NAME.csr, --certificates checks them all and renews with them.

Which reason: certificates end soon, the CA does not: renew. The CA ends soon: extend-ca, then
renew. The CA's key is old, too short, or a new one is the rule: replace-ca. Somebody has had a
key, or was root: compromised.

Interrupt it with Ctrl-C at any time: it stops at a safe point, and `kubecert resume` goes on.";

/// For `resume`.
pub(super) const RESUME: &str = "\
Examples:
  kubecert resume -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa
  kubecert resume -c cluster.yaml

The run goes on with the same new certificates. Steps that had begun are looked at again before anything is done.";

/// For `undo`.
pub(super) const UNDO: &str = "\
Examples:
  kubecert undo -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa
  kubecert undo -c cluster.yaml

Every changed file is byte for byte as it was, every changed object too, and every component runs
on the old certificates; the API answers meanwhile. Once the old CA has begun to leave trust stores
there is no way back, and `kubecert resume` finishes the run.";

/// For `recover`.
pub(super) const RECOVER: &str = "\
Examples:
  kubecert recover -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa
  kubecert recover -c cluster.yaml
  kubecert recover -c cluster.yaml --csr-out requests
  kubecert recover -c cluster.yaml --certificates requests
  kubecert recover --site plant-7.yaml --yes

With --site, all layers of a site of AKS Arc in the order in which they depend on each other: its
infrastructure, the Kubernetes layer of each cluster, the cloud credentials and load balancers of
each cluster. Nothing is renewed that is not due.

Certificates are issued anew by the CA in force, which itself gets another certificate for its key if it
has ended; tokens stay what they were. Where its key is kept elsewhere, --csr-out makes signing requests, and
--certificates goes on with what was signed; agents need a second round. Agents that cannot be reached are left: run it again once they are
back. `rotate-certs --force` does the same first, and then replaces the CA.";

/// For `verify`.
pub(super) const VERIFY: &str = "\
Examples:
  kubecert verify -m apimodel.json \\
      --ssh-host lab.example.com --linux-ssh-private-key ~/.ssh/id_rsa
  kubecert verify -c cluster.yaml

Exit code 3 says that something is not as it should be.";

/// For `report`.
pub(super) const REPORT: &str = "\
Examples:
  kubecert report
  kubecert report ~/.local/state/kubecert/lab/01KAM3V7Q2Z9 --html report.html
  kubecert report -o json | jq .api";

/// For `generate`.
pub(super) const GENERATE: &str = "\
Examples:
  kubecert generate -m apimodel.json --output-directory new-pki

The profile that it writes is what `rotate-certs --certificate-profile` takes. No cluster is contacted.";

/// For `rehearse`.
pub(super) const REHEARSE: &str = "\
Examples:
  kubecert rehearse -m apimodel.json
  kubecert rehearse -m apimodel.json --fault reboot@40 --fault killed-after@60
  kubecert rehearse -m apimodel.json --random-faults --seed 7 -o json
  kubecert rehearse --list-faults

The cluster is built in memory after the apimodel; no node is contacted and nothing is changed. Times are those
of an average machine. Exit code 0 says that the run would come to its end with nothing broken, 1 that it would not.";

/// For `demo`.
pub(super) const DEMO: &str = "\
Examples:
  kubecert demo
  kubecert demo --control-planes 5 --agents 40 --strategy bundled
  kubecert demo && kubecert report --html demo.html";

/// For `rotate-certs`.
pub(super) const ROTATE_CERTS: &str = "\
Examples:
  kubecert rotate-certs --location westus2 --resource-group lab --api-model _output/lab/apimodel.json \\
      --ssh-host lab.westus2.cloudapp.azure.com --linux-ssh-private-key ~/.ssh/id_rsa
  AZURE_CLIENT_SECRET=$(cat secret) kubecert rotate-certs -l local -g lab -m apimodel.json \\
      --ssh-host 10.0.0.4 --linux-ssh-private-key id_rsa --azure-env AzureStackCloud \\
      --auth-method client_secret --client-id 3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f

Exit codes: 0 done, 1 anything else, as the ancestor's. Run it again after an interruption: it goes on where it was,
with the same new certificates.";

/// For `completions`.
pub(super) const COMPLETIONS: &str = "\
Examples:
  kubecert completions bash > /etc/bash_completion.d/kubecert
  kubecert completions zsh > ~/.zfunc/_kubecert
  kubecert completions fish > ~/.config/fish/completions/kubecert.fish";

/// For `man`.
pub(super) const MAN: &str = "\
Examples:
  kubecert man ~/.local/share/man/man1 && man kubecert-rotate";

/// For `Update-AksHciCertificates`.
pub(super) const UPDATE_CERTIFICATES: &str = "\
Examples:
  kubecert Update-AksHciCertificates -Site plant-7.yaml
  kubecert update-akshcicertificates -force -site plant-7.yaml -o json
  KUBECERT_SITE=plant-7.yaml kubecert Update-AksHciCertificates -WhatIf

Parameters are read as PowerShell reads them: any case, one dash, as short as they are unambiguous,
-Force:$true. What has more than 30 % of its life left is not renewed, unless -Force is given.
Exit code 1 says that something could not be renewed; the others are renewed all the same.
It speaks to an authority that speaks the public wire API; it was never run against the vendor's.";

/// For `Update-AksHciClusterCertificates`.
pub(super) const UPDATE_CLUSTER_CERTIFICATES: &str = "\
Examples:
  kubecert Update-AksHciClusterCertificates -Name holidays -fixCloudCredentials -patchLoadBalancer \\
      -Site plant-7.yaml
  kubecert Update-AksHciClusterCertificates -name holidays -fixKubeletCredentials -Site plant-7.yaml

The order after a long shutdown: Update-AksHciCertificates, then -FixKubeletCredentials, then
-FixCloudCredentials -PatchLoadBalancer. What is called too early is refused, and says what to run first.";

/// For `Repair-AksHciCerts`.
pub(super) const REPAIR_CERTS: &str = "\
Examples:
  kubecert Repair-AksHciCerts -sshPrivateKeyFile id_rsa -Site plant-7.yaml

Use Update-AksHciCertificates, which does the same.";

/// For `Repair-AksHciClusterCerts`.
pub(super) const REPAIR_CLUSTER_CERTS: &str = "\
Examples:
  kubecert Repair-AksHciClusterCerts -name holidays -fixCloudCredentials -Site plant-7.yaml

Use Update-AksHciClusterCertificates, which does the same.";

/// For `Invoke-AksHciRotateCACertificate`.
pub(super) const ROTATE_CA_CERTIFICATE: &str = "\
Examples:
  kubecert Invoke-AksHciRotateCACertificate -Site plant-7.yaml

It runs on the authority's machine, whose directory the site file names (`authority: DIR`). The old CA is
accepted for 30 days more; Update-AksHciCertificates has every client know the new one before that.";
