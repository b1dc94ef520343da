//! The destinations' metrics, under the names of Prometheus' remote storage, or under `narthex_remote_` if it
//! has no such metric.

mod points;
mod position;
mod queue;
mod requests;
mod state;
mod table;

use super::Outlet;
use model::Family;
use storage::Storage;
use table::Table;

pub use position::lag_bytes;

/// Adds the families, in the order of the page.
pub(super) fn families(destinations: &[Outlet], storage: &Storage, out: &mut Vec<Family>) {
    let mut table = Table { destinations, out };
    points::kinds(&mut table);
    requests::metadata(&mut table);
    queue::through(&mut table);
    queue::shards(&mut table);
    queue::lag(&mut table);
    points::aside(&mut table);
    queue::reading(&mut table);
    requests::requests(&mut table);
    position::failures(&mut table);
    points::refused(&mut table);
    state::families(&mut table);
    requests::duration(destinations, out);
    position::lag(destinations, storage, out);
    position::watcher(destinations, storage.stats(), out);
    points::came_in(destinations, storage.stats(), out);
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
