//! What must hold for any bytes whatever. The fuzz targets call these; so do the crates' own tests, with
//! the corpus and with random changes to it.

pub mod formats;
