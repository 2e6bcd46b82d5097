//! PEM files, one by one or a directory of them such as `/etc/kubernetes/pki`.

use std::fs;
use std::path::{Path, PathBuf};

use kubecert_core::assess::Material;
use kubecert_pki::read_pem_certificates;

use super::{Found, kubeconfig};

/// How deep a directory is read: `pki/etcd` is the deepest that Kubernetes has.
const DEEPEST: usize = 3;

/// Reads a file, or all `.crt`, `.pem` and `.conf` files of a directory.
pub(super) fn read(found: &mut Found<'_>, path: &Path) {
    let place = path.display().to_string();
    if !path.is_dir() {
        found.file(path, one);
        return;
    }
    let mut files = Vec::new();
    if let Err(error) = collect(path, DEEPEST, &mut files) {
        found.unreadable(&place, Material::Certificate, format!("it cannot be read: {error}"));
    }
    files.sort();
    let before = found.seen.credentials.len();
    for file in files {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("conf") => found.file(&file, kubeconfig::read),
            _ => found.file(&file, one),
        }
    }
    if found.seen.credentials.len() == before {
        found.unreadable(&place, Material::Certificate, "there is no certificate in it".to_owned());
    }
}

/// The first certificate of a file tells what it is for: a CA, or a leaf with its chain behind it.
pub(super) fn one(found: &mut Found<'_>, place: &str, text: &str) -> Result<(), String> {
    let certificates = read_pem_certificates(text);
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    for (index, certificate) in certificates.into_iter().enumerate() {
        let certificate = certificate.map_err(|error| error.to_string())?;
        found.certificate(place, &certificate, certificate.is_ca() || index > 0);
    }
    Ok(())
}

fn collect(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            if depth > 1 {
                collect(&path, depth - 1, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|ending| ["crt", "pem", "conf"].iter().any(|known| ending == *known))
        {
            files.push(path);
        }
    }
    Ok(())
}
