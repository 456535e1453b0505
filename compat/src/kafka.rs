//! Apache Kafka as it comes from Maven Central: its jars in a cache folder, a single node, its command-line tools, and
//! the programs of `compat/kafka/java`, which are built on them.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The release that Ottla is compared with; `compat/kafka/pom.xml` names the same.
pub const VERSION: &str = "4.3.1";

/// Names a folder that already holds the jars, instead of the cache.
pub const LIBS_VARIABLE: &str = "OTTLA_KAFKA_LIBS";

/// The jars that are needed, as Maven is told.
const POM: &str = include_str!("../kafka/pom.xml");

/// The jars of Apache Kafka.
#[derive(Clone, Debug)]
pub struct Kafka {
    libs: PathBuf,
    /// Where the programs of `compat/kafka/java` are, once they are compiled.
    classes: Option<PathBuf>,
}

impl Kafka {
    /// Finds the jars, or brings them from Maven Central with `mvn` (once; they stay in the cache folder).
    pub fn find_or_download() -> io::Result<Self> {
        if let Some(libs) = std::env::var_os(LIBS_VARIABLE) {
            return Self::at(PathBuf::from(libs));
        }
        // Other jars go to another folder: what an earlier list has brought may lack some.
        let mut list = DefaultHasher::new();
        POM.hash(&mut list);
        let libs = cache().join(format!("kafka-{VERSION}-{:016x}", list.finish()));
        if !libs.is_dir() {
            download(&libs)?;
        }
        Self::at(libs)
    }

    fn at(libs: PathBuf) -> io::Result<Self> {
        let clients = libs.join(format!("kafka-clients-{VERSION}.jar"));
        if !clients.is_file() {
            return Err(io::Error::other(format!("{} is missing; {LIBS_VARIABLE} may be wrong", clients.display())));
        }
        Ok(Self { libs, classes: None })
    }

    /// The same with the programs of `compat/kafka/java`, which it compiles into a folder.
    pub fn compiled(self, classes: &Path) -> io::Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/java");
        let mut compiler = Command::new("javac");
        compiler.args(["-Xlint:all,-path", "-Werror", "-d"]).arg(classes).arg("-cp").arg(self.class_path());
        for source in fs::read_dir(sources)? {
            compiler.arg(source?.path());
        }
        run(&mut compiler)?;
        Ok(Self { classes: Some(classes.to_owned()), ..self })
    }

    /// `java` with one of Kafka's main classes.
    pub fn java(&self, heap: &str, main: &str) -> Command {
        self.virtual_machine(heap, &["-XX:+UseG1GC"], main)
    }

    /// `java` with a main class that lives for seconds: to compile it well would take longer than it does.
    pub fn short_lived(&self, heap: &str, main: &str) -> Command {
        self.virtual_machine(heap, &["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"], main)
    }

    fn virtual_machine(&self, heap: &str, options: &[&str], main: &str) -> Command {
        let mut command = Command::new("java");
        command.arg(format!("-Xmx{heap}")).args(options);
        command.arg("-Dlog4j2.level=WARN").arg("-cp").arg(self.class_path()).arg(main);
        command
    }

    fn class_path(&self) -> OsString {
        let mut path = OsString::from(&self.libs);
        path.push("/*");
        if let Some(classes) = &self.classes {
            path.push(":");
            path.push(classes);
        }
        path
    }

    /// The folder of the jars.
    pub fn libs(&self) -> &Path {
        &self.libs
    }

    /// Formats the folder that `server.properties` names, as a new cluster of one node.
    pub fn format(&self, properties: &Path) -> io::Result<()> {
        let mut command = self.java("256M", "kafka.tools.StorageTool");
        command.args(["format", "-t", "b3R0bGEtY29tcGF0LTAwMQ", "-c"]).arg(properties);
        run(&mut command).map(drop)
    }
}

/// The settings of a single node, one `name=value` a line.
pub fn server_properties(port: u16, controller_port: u16, data: &Path, more: &[(String, String)]) -> String {
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.coordinator.rebalance.protocols=classic,consumer,streams\n\
         group.initial.rebalance.delay.ms=0\n",
        data.display()
    );
    for (name, value) in more {
        text.extend([name, "=", value, "\n"]);
    }
    text
}

/// Runs a command to its end; its standard output, or an error with all that it printed.
pub fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot run {}: {error}", command.get_program().display()))
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?} ended with {}:\n{text}{errors}", output.status)))
}

/// `$XDG_CACHE_HOME/ottla` where that is set, the workspace's `target` elsewhere.
fn cache() -> PathBuf {
    if let Some(cache) = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()) {
        return PathBuf::from(cache).join("ottla");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}

/// Lets Maven copy the jars beside their place and moves them there in one step, so that a broken download leaves none.
fn download(libs: &Path) -> io::Result<()> {
    let cache = libs.parent().ok_or_else(|| io::Error::other("the cache folder has no parent"))?;
    fs::create_dir_all(cache)?;
    let arriving = tempfile::Builder::new().prefix("kafka-").tempdir_in(cache)?;
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/pom.xml");
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q", "dependency:copy-dependencies"]);
    maven.arg(format!("-DoutputDirectory={}", arriving.path().display())).arg("-f").arg(pom);
    run(&mut maven)?;
    match fs::rename(arriving.path(), libs) {
        // Another process was faster.
        Err(_) if libs.is_dir() => Ok(()),
        moved => moved,
    }
}
