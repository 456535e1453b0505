//! A real data set: this project's own files, line by line, from several producers at once, with the broker killed
//! midway. What is read back is byte for byte what was sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

use ottla_compat::Settings;

use crate::harness::{own_broker, topic};
use crate::journal::Journal;

const PARTITIONS: i32 = 3;
const PRODUCERS: usize = 4;

#[test]
fn this_projects_files_come_back_byte_for_byte() {
    let files = project_files();
    let lines = |content: &[u8]| content.split(|&byte| byte == b'\n').count();
    let total: usize = files.values().map(|content| lines(content)).sum();
    assert!(files.len() > 20 && total > 2_000, "{} files with {total} lines", files.len());
    let mut broker = own_broker(Settings::default());
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "dataset", PARTITIONS, &[]);
    let journal = Journal::default();
    // Every producer keeps its last line until the broker was killed, so that this is midway however fast they are.
    let killed = (Mutex::new(false), Condvar::new());

    std::thread::scope(|scope| {
        for name in 0..PRODUCERS {
            let (files, journal, bootstrap, topic, killed) = (&files, &journal, &bootstrap, &topic, &killed);
            scope.spawn(move || {
                let settings = [("batch.num.messages", "20"), ("queue.buffering.max.messages", "200")];
                let producer = journal.producer(bootstrap, &settings);
                let own: Vec<(usize, (&String, &Vec<u8>))> =
                    files.iter().enumerate().filter(|(index, _)| index % PRODUCERS == name).collect();
                let mut left: usize = own.iter().map(|(_, (_, content))| lines(content)).sum();
                for (index, (path, content)) in own {
                    for line in content.split(|&byte| byte == b'\n') {
                        left -= 1;
                        if left == 0 {
                            drop(killed.1.wait_while(killed.0.lock().unwrap(), |killed| !*killed).unwrap());
                        }
                        producer.send(topic, index as i32 % PARTITIONS, path.as_bytes(), line);
                    }
                }
                producer.flush();
            });
        }
        // The lock is let go even when the wait fails, or the producers would wait forever.
        let release = Release(&killed);
        journal.wait_for(total / 2);
        broker.kill().unwrap();
        broker.restart().unwrap();
        drop(release);
    });

    assert_eq!(journal.count(), total);
    let log = journal.compare_with_the_log(&bootstrap, &topic, PARTITIONS);
    let mut read: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (key, value) in log.into_iter().flatten() {
        read.entry(String::from_utf8(key.unwrap()).unwrap()).or_default().push(value.unwrap());
    }
    assert!(read.keys().eq(files.keys()));
    for (path, content) in &files {
        assert!(read[path].join(&b'\n') == *content, "{path} is not what it was");
    }
}

struct Release<'a>(&'a (Mutex<bool>, Condvar));

impl Drop for Release<'_> {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// The files of this project by path, as they are now.
fn project_files() -> BTreeMap<String, Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if ["target", ".git", "ottla-data"].iter().any(|other| name == *other) {
                continue;
            }
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
                files.insert(path, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}
