//! Copies and unpacks data folders, so that each case has its own.

use std::path::Path;

/// Copies a folder with its content. `to` may exist.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Unpacks a folder of files `*.zst` with all its folders. Other files are left out. `to` may exist.
pub fn unpack(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            unpack(&path, &to.join(path.file_name().unwrap()));
        } else if path.extension().is_some_and(|ending| ending == "zst") {
            let bytes = crate::wire::decompress("zstd", &std::fs::read(&path).unwrap()).unwrap();
            std::fs::write(to.join(path.file_stem().unwrap()), bytes).unwrap();
        }
    }
}

/// Packs a data folder in the form that [`unpack`] reads. The lock is left out, and the reserve, which is 16
/// MiB without content.
pub fn pack(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            pack(&path, &to.join(name));
            // git does not store empty folders, and an empty checkpoint is one.
            if std::fs::read_dir(&path).unwrap().next().is_none() {
                std::fs::write(to.join(name).join("empty"), "").unwrap();
            }
        } else if !["lock", "reserve"].contains(&name) {
            let packed = zstd::encode_all(&*std::fs::read(&path).unwrap(), 19).unwrap();
            std::fs::write(to.join(format!("{name}.zst")), packed).unwrap();
        }
    }
}
