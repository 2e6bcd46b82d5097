//! Trees of files with placeholders, laid over a node's root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::base;

/// What stands for `@NAME@` in the templates.
pub(crate) type Values<'a> = [(&'a str, String)];

/// Copies the tree `from` over `to`, filling in the placeholders; modes are taken over, everything belongs to root.
pub(crate) fn lay_tree(from: &Path, to: &Path, values: &Values<'_>) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            fs::create_dir_all(&target)?;
            lay_tree(&source, &target, values)?;
        } else {
            let text = fs::read_to_string(&source)?;
            // Git keeps only the executable bit, so that is all a template says about its mode.
            let mode = if source.metadata()?.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            let text = fill(&text, values).with_context(|| format!("template {}", source.display()))?;
            write(&target, &text, mode, (0, 0))?;
        }
    }
    Ok(())
}

/// Fills in the placeholders of one text; one that has no value is an error.
pub(crate) fn fill(text: &str, values: &Values<'_>) -> Result<String> {
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    // What is left between two @ and looks like a name has been forgotten.
    for word in text.split('@').skip(1).step_by(1) {
        if !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
            bail!("there is no value for @{word}@");
        }
    }
    Ok(text)
}

/// Writes a file with its mode and owner, making the directories above it.
pub(crate) fn write(path: &Path, text: &str, mode: u32, owner: (u32, u32)) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    // A link in the base, such as /etc/os-release, must not be written through: it would lead onto the host.
    if path.is_symlink() {
        fs::remove_file(path).with_context(context)?;
    }
    fs::write(path, text).with_context(context)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(context)?;
    chown(path, Some(owner.0), Some(owner.1)).with_context(context)
}

/// Makes a directory with its mode and owner.
pub(crate) fn directory(path: &Path, mode: u32, owner: (u32, u32)) -> Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    chown(path, Some(owner.0), Some(owner.1))?;
    Ok(())
}

/// Switches a unit on for the node's next boot.
pub(crate) fn enable(root: &Path, unit: &str, from: &str) -> Result<()> {
    base::link(&format!("{from}/{unit}"), &root.join("etc/systemd/system/multi-user.target.wants").join(unit))
}
