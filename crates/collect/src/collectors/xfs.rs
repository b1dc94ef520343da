//! `xfs`: counters of XFS, by file system.

use super::{Context, Outcome};
use crate::error::CollectError;
use crate::out::{Def, Out, counter};

macro_rules! stat {
    ($line:literal $column:literal $name:literal $help:literal) => {
        ($line, $column, counter(concat!("node_xfs_", $name, "_total"), $help))
    };
}

/// The first word of a line, the index of a column after it, and the metric of that column.
const STATS: [(&str, usize, Def); 39] = [
    stat!("extent_alloc" 0 "extent_allocation_extents_allocated" "Number of extents allocated for a filesystem."),
    stat!("extent_alloc" 1 "extent_allocation_blocks_allocated" "Number of blocks allocated for a filesystem."),
    stat!("extent_alloc" 2 "extent_allocation_extents_freed" "Number of extents freed for a filesystem."),
    stat!("extent_alloc" 3 "extent_allocation_blocks_freed" "Number of blocks freed for a filesystem."),
    stat!("abt" 0 "allocation_btree_lookups" "Number of allocation B-tree lookups for a filesystem."),
    stat!("abt" 1 "allocation_btree_compares" "Number of allocation B-tree compares for a filesystem."),
    stat!("abt" 2 "allocation_btree_records_inserted" "Number of allocation B-tree records inserted for a filesystem."),
    stat!("abt" 3 "allocation_btree_records_deleted" "Number of allocation B-tree records deleted for a filesystem."),
    stat!("blk_map" 0 "block_mapping_reads" "Number of block map for read operations for a filesystem."),
    stat!("blk_map" 1 "block_mapping_writes" "Number of block map for write operations for a filesystem."),
    stat!("blk_map" 2 "block_mapping_unmaps" "Number of block unmaps (deletes) for a filesystem."),
    stat!("blk_map" 3 "block_mapping_extent_list_insertions" "Number of extent list insertions for a filesystem."),
    stat!("blk_map" 4 "block_mapping_extent_list_deletions" "Number of extent list deletions for a filesystem."),
    stat!("blk_map" 5 "block_mapping_extent_list_lookups" "Number of extent list lookups for a filesystem."),
    stat!("blk_map" 6 "block_mapping_extent_list_compares" "Number of extent list compares for a filesystem."),
    stat!("bmbt" 0 "block_map_btree_lookups" "Number of block map B-tree lookups for a filesystem."),
    stat!("bmbt" 1 "block_map_btree_compares" "Number of block map B-tree compares for a filesystem."),
    stat!("bmbt" 2 "block_map_btree_records_inserted" "Number of block map B-tree records inserted for a filesystem."),
    stat!("bmbt" 3 "block_map_btree_records_deleted" "Number of block map B-tree records deleted for a filesystem."),
    stat!("dir" 0 "directory_operation_lookup" "Number of file name directory lookups which miss the operating systems directory name lookup cache."),
    stat!("dir" 1 "directory_operation_create" "Number of times a new directory entry was created for a filesystem."),
    stat!("dir" 2 "directory_operation_remove" "Number of times an existing directory entry was created for a filesystem."),
    stat!("dir" 3 "directory_operation_getdents" "Number of times the directory getdents operation was performed for a filesystem."),
    stat!("ig" 0 "inode_operation_attempts" "Number of times the OS looked for an XFS inode in the inode cache."),
    stat!("ig" 1 "inode_operation_found" "Number of times the OS looked for and found an XFS inode in the inode cache."),
    stat!("ig" 2 "inode_operation_recycled" "Number of times the OS found an XFS inode in the cache, but could not use it as it was being recycled."),
    stat!("ig" 3 "inode_operation_missed" "Number of times the OS looked for an XFS inode in the cache, but did not find it."),
    stat!("ig" 4 "inode_operation_duplicates" "Number of times the OS tried to add a missing XFS inode to the inode cache, but found it had already been added by another process."),
    stat!("ig" 5 "inode_operation_reclaims" "Number of times the OS reclaimed an XFS inode from the inode cache to free memory for another purpose."),
    stat!("ig" 6 "inode_operation_attribute_changes" "Number of times the OS explicitly changed the attributes of an XFS inode."),
    stat!("rw" 0 "write_calls" "Number of write(2) system calls made to files in a filesystem."),
    stat!("rw" 1 "read_calls" "Number of read(2) system calls made to files in a filesystem."),
    stat!("vnodes" 0 "vnode_active" "Number of vnodes not on free lists for a filesystem."),
    stat!("vnodes" 1 "vnode_allocate" "Number of times vn_alloc called for a filesystem."),
    stat!("vnodes" 2 "vnode_get" "Number of times vn_get called for a filesystem."),
    stat!("vnodes" 3 "vnode_hold" "Number of times vn_hold called for a filesystem."),
    stat!("vnodes" 4 "vnode_release" "Number of times vn_rele called for a filesystem."),
    stat!("vnodes" 5 "vnode_reclaim" "Number of times vn_reclaim called for a filesystem."),
    stat!("vnodes" 6 "vnode_remove" "Number of times vn_remove called for a filesystem."),
];

const XFS: &str = "sys/fs/xfs";

pub(super) fn collect(context: &mut Context<'_>, out: &mut Out) -> Outcome {
    let source = &mut *context.source;
    // The folder `stats` has the sums over all file systems.
    let devices = match source.list(XFS, |name| name != "stats") {
        Ok(devices) => devices,
        // A kernel without XFS has no metrics here, which is no failure.
        Err(error) if error.is_missing() => return Ok(()),
        Err(error) => return Err(error),
    };
    let first = out.open_all(&STATS.map(|(_, _, def)| def));
    for device in devices {
        let path = format!("{XFS}/{device}/stats/stats");
        let text = match source.read(&path) {
            Ok(text) => text,
            // Folders such as `debug` are not file systems.
            Err(error) if error.is_missing() => continue,
            Err(error) => return Err(error),
        };
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let word = fields.next().unwrap_or_default();
            let columns: Vec<&str> = fields.collect();
            for (index, (_, column, _)) in STATS.iter().enumerate().filter(|(_, (name, ..))| *name == word) {
                let value: f64 = columns
                    .get(*column)
                    .and_then(|column| column.parse().ok())
                    .ok_or_else(|| CollectError::malformed(&*path, "a word and its numbers", line))?;
                out.push(first.plus(index), &[("device", &device)], value);
            }
        }
    }
    Ok(())
}
