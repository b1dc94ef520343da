//! A hostile file system in memory, for tests. (Being written.)
