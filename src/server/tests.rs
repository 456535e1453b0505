//! The server over real sockets, with handlers that a test decides on.
#![allow(clippy::unwrap_used, clippy::panic)]
// Handlers have one shape, whatever one of them needs of it.
#![allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps)]

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::*;
use crate::api::Response;
use crate::storage::disk::{DiskFile, FileSlice};
use crate::wire::fetch::Piece;

struct Scripted<F>(F);

impl<F: Fn(Request) -> Result<Reply, Refused> + Send + Sync + 'static> Service for Scripted<F> {
    fn call(&self, request: Request) -> Result<Reply, Refused> {
        (self.0)(request)
    }
}

/// A server on a free port, which shuts down when `stop` is used or dropped.
struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
}

const DRAIN: Duration = Duration::from_secs(20);

fn serve(limits: Limits, handler: impl Fn(Request) -> Result<Reply, Refused> + Send + Sync + 'static) -> Running {
    serve_with_drain(limits, DRAIN, handler)
}

fn serve_with_drain(
    limits: Limits,
    drain: Duration,
    handler: impl Fn(Request) -> Result<Reply, Refused> + Send + Sync + 'static,
) -> Running {
    let listeners = vec![ListenerConfig::new("TEST", "127.0.0.1", 0)];
    let server = Server::bind(ServerConfig { listeners, limits }).unwrap();
    let address = server.addresses().next().unwrap().1;
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let ended = tokio::spawn(server.run(Scripted(handler), shutdown, drain));
    Running { address, stop: Some(stop), ended }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

/// A Metadata v0 request frame with this body.
fn request(correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_i32(10 + body.len() as i32);
    frame.put_i16(3);
    frame.put_i16(0);
    frame.put_i32(correlation_id);
    frame.put_i16(-1);
    frame.extend_from_slice(body);
    frame
}

fn answer_bytes(correlation_id: i32, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(4 + body.len() as i32);
    frame.put_i32(correlation_id);
    frame.extend_from_slice(body);
    frame.freeze()
}

fn echo(request: Request) -> Result<Reply, Refused> {
    Ok(Reply::Now(answer_bytes(request.header.correlation_id, &request.body).into()))
}

async fn read_answer(stream: &mut TcpStream) -> (i32, Vec<u8>) {
    let length = stream.read_i32().await.unwrap();
    let correlation_id = stream.read_i32().await.unwrap();
    let mut body = vec![0; usize::try_from(length - 4).unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    (correlation_id, body)
}

/// Reads to the end of the stream; a reset is an end too.
async fn read_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

#[tokio::test]
async fn answers_leave_in_the_order_of_requests_whatever_the_order_they_are_made_in() {
    let (send_waiting, mut waiting) = mpsc::channel(10);
    let server = serve(Limits::default(), move |request| {
        let (send, receive) = oneshot::channel::<()>();
        let correlation_id = request.header.correlation_id;
        send_waiting.try_send((correlation_id, send)).unwrap();
        Ok(Reply::Later(Box::pin(async move {
            receive.await.unwrap();
            Ok(answer_bytes(correlation_id, &[]).into())
        })))
    });
    let mut client = server.connect().await;
    for id in 0..5 {
        client.write_all(&request(id, b"x")).await.unwrap();
    }
    let mut started = Vec::new();
    for _ in 0..5 {
        started.push(waiting.recv().await.unwrap());
    }
    assert_eq!(started.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2, 3, 4], "stage one keeps the order");
    for (_, finish) in started.into_iter().rev() {
        finish.send(()).unwrap();
    }
    for id in 0..5 {
        assert_eq!(read_answer(&mut client).await.0, id);
    }
}

#[tokio::test]
async fn a_burst_of_requests_in_any_cut_is_answered_whole() {
    let server = serve(Limits::default(), echo);
    let bodies: Vec<Vec<u8>> = (0..2000_usize).map(|id| vec![id as u8; (id * 37) % 5000]).collect();
    let stream: Vec<u8> = bodies.iter().enumerate().flat_map(|(id, body)| request(id as i32, body)).collect();
    let (mut read, mut write) = server.connect().await.into_split();
    let writer = tokio::spawn(async move {
        for part in stream.chunks(77_777) {
            write.write_all(part).await.unwrap();
        }
        write
    });
    for (id, body) in bodies.iter().enumerate() {
        let length = read.read_i32().await.unwrap() as usize;
        assert_eq!(read.read_i32().await.unwrap(), id as i32);
        let mut received = vec![0; length - 4];
        read.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, body, "{id}");
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn large_frames_arrive_intact_and_their_buffers_serve_again() {
    let server = serve(Limits::default(), |request| {
        let sum = request.body.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        Ok(Reply::Now(answer_bytes(request.header.correlation_id, &sum.to_be_bytes()).into()))
    });
    let mut client = server.connect().await;
    for (id, size) in [1_000_000, 999_000, 3_000_000, 70_000, 1_000_100].into_iter().enumerate() {
        let body: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
        client.write_all(&request(id as i32, &body)).await.unwrap();
        let sum = body.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        assert_eq!(read_answer(&mut client).await, (id as i32, sum.to_be_bytes().to_vec()));
    }
}

#[tokio::test]
async fn a_bad_frame_closes_the_connection_after_earlier_answers() {
    let limits = Limits { request_max_bytes: 1000, ..Limits::default() };
    let server = serve(limits, |request| match request.header.correlation_id {
        66 => Err(Refused::Close("as asked".to_owned())),
        67 => panic!("stage one panics on purpose"),
        68 => Ok(Reply::Later(Box::pin(async { panic!("stage two panics on purpose") }))),
        69 => Ok(Reply::Later(Box::pin(async { Err(Refused::Close("later".to_owned())) }))),
        _ => echo(request),
    });
    let bad: [(&str, Vec<u8>); 10] = [
        ("negative length", (-1_i32).to_be_bytes().to_vec()),
        ("smallest length", i32::MIN.to_be_bytes().to_vec()),
        ("length above the limit", 1001_i32.to_be_bytes().to_vec()),
        ("no header at all", 0_i32.to_be_bytes().to_vec()),
        ("one byte", vec![0, 0, 0, 1, 0]),
        ("a header cut short", vec![0, 0, 0, 6, 0, 3, 0, 0, 0, 0]),
        ("refused in stage one", request(66, b"")),
        ("panic in stage one", request(67, b"")),
        ("panic in stage two", request(68, b"")),
        ("refused in stage two", request(69, b"")),
    ];
    for (what, bytes) in bad {
        let mut client = server.connect().await;
        let stream = [request(1, b"before"), bytes, request(2, b"after")].concat();
        client.write_all(&stream).await.unwrap();
        assert_eq!(read_answer(&mut client).await, (1, b"before".to_vec()), "{what}");
        assert_eq!(read_end(&mut client).await, b"", "{what}");
    }
    let mut client = server.connect().await;
    client.write_all(&request(3, b"alive")).await.unwrap();
    assert_eq!(read_answer(&mut client).await, (3, b"alive".to_vec()), "the broker goes on");
}

#[tokio::test]
async fn requests_without_an_answer_do_not_disturb_the_order() {
    let server = serve(Limits::default(), |request| {
        if request.header.correlation_id % 2 == 1 { Ok(Reply::Nothing) } else { echo(request) }
    });
    let mut client = server.connect().await;
    let stream: Vec<u8> = (0..300).flat_map(|id| request(id, b"x")).collect();
    client.write_all(&stream).await.unwrap();
    for id in (0..300).step_by(2) {
        assert_eq!(read_answer(&mut client).await.0, id);
    }
}

/// A request whose first stage waits until it is told to go on.
fn staged(request: Request, receive: oneshot::Receiver<()>) -> Result<Reply, Refused> {
    Ok(Reply::Staged(Box::pin(async move {
        receive.await.unwrap();
        echo(request)
    })))
}

#[tokio::test]
async fn a_request_starts_when_the_first_stage_of_the_one_before_is_over() {
    let (send_waiting, mut waiting) = mpsc::channel(10);
    let server = serve(Limits::default(), move |request| {
        let (send, receive) = oneshot::channel::<()>();
        send_waiting.try_send((request.header.correlation_id, send)).unwrap();
        staged(request, receive)
    });
    let mut client = server.connect().await;
    let stream: Vec<u8> = (0..5).flat_map(|id| request(id, b"x")).collect();
    client.write_all(&stream).await.unwrap();
    // The last one is there in spite of a client that has nothing more to say.
    client.shutdown().await.unwrap();
    for id in 0..5 {
        let (started, go_on) = waiting.recv().await.unwrap();
        assert_eq!(started, id);
        assert!(waiting.try_recv().is_err(), "{} started before {id} was through", id + 1);
        go_on.send(()).unwrap();
        assert_eq!(read_answer(&mut client).await.0, id);
    }
    assert_eq!(read_end(&mut client).await, b"");
}

#[tokio::test]
async fn what_a_waiting_first_stage_comes_to_is_what_any_comes_to() {
    let server = serve(Limits::default(), |request| {
        let id = request.header.correlation_id;
        Ok(Reply::Staged(Box::pin(async move {
            tokio::task::yield_now().await;
            match id {
                1 => Ok(Reply::Nothing),
                2 => Ok(Reply::Later(Box::pin(async move { Ok(answer_bytes(id, b"later").into()) }))),
                3 => Ok(Reply::Staged(Box::pin(async move { echo(request) }))),
                4 => Err(Refused::Close("as asked".to_owned())),
                5 => panic!("stage one panics on purpose"),
                _ => echo(request),
            }
        })))
    });
    let mut client = server.connect().await;
    let stream: Vec<u8> = [0, 1, 2, 3, 4, 0].into_iter().flat_map(|id| request(id, b"x")).collect();
    client.write_all(&stream).await.unwrap();
    for id in [0, 2, 3] {
        assert_eq!(read_answer(&mut client).await.0, id);
    }
    assert_eq!(read_end(&mut client).await, b"", "refused");
    let mut client = server.connect().await;
    client.write_all(&[request(0, b"x"), request(5, b"x")].concat()).await.unwrap();
    assert_eq!(read_answer(&mut client).await.0, 0);
    assert_eq!(read_end(&mut client).await, b"", "panicked");
}

#[tokio::test]
async fn a_client_that_has_sent_all_it_had_still_gets_its_answers() {
    let (send_waiting, mut waiting) = mpsc::channel(1);
    let server = serve(Limits::default(), move |request| {
        let (send, receive) = oneshot::channel::<()>();
        send_waiting.try_send(send).unwrap();
        Ok(Reply::Later(Box::pin(async move {
            receive.await.unwrap();
            Ok(answer_bytes(request.header.correlation_id, b"late").into())
        })))
    });
    let mut client = server.connect().await;
    client.write_all(&request(5, b"")).await.unwrap();
    client.shutdown().await.unwrap();
    waiting.recv().await.unwrap().send(()).unwrap();
    assert_eq!(read_answer(&mut client).await, (5, b"late".to_vec()));
    assert_eq!(read_end(&mut client).await, b"");
}

#[tokio::test]
async fn a_reader_that_stalls_stops_being_read_from_and_delays_nobody() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&started);
    let server = serve(Limits::default(), move |request| {
        if request.body.is_empty() {
            return echo(request);
        }
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Reply::Now(answer_bytes(request.header.correlation_id, &vec![1; 500_000]).into()))
    });
    let mut stalled = server.connect().await;
    let stream: Vec<u8> = (0..500).flat_map(|id| request(id, b"large")).collect();
    stalled.write_all(&stream).await.unwrap();
    for id in 0..200 {
        let mut client = server.connect().await;
        client.write_all(&request(id, b"")).await.unwrap();
        assert_eq!(read_answer(&mut client).await.0, id);
    }
    let while_stalled = started.load(Ordering::Relaxed);
    assert!(while_stalled < 100, "{while_stalled} answers were made for a client that reads none");
    for id in 0..500 {
        assert_eq!(read_answer(&mut stalled).await.0, id);
    }
}

#[tokio::test]
async fn no_more_than_64_requests_of_a_connection_are_in_flight() {
    let started = Arc::new(AtomicUsize::new(0));
    let (count, gate) = (Arc::clone(&started), Arc::new(tokio::sync::Semaphore::new(0)));
    let release = Arc::clone(&gate);
    let server = serve(Limits::default(), move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        let gate = Arc::clone(&gate);
        Ok(Reply::Later(Box::pin(async move {
            let _permit = gate.acquire().await.unwrap();
            Ok(answer_bytes(request.header.correlation_id, &[]).into())
        })))
    });
    let mut client = server.connect().await;
    let stream: Vec<u8> = (0..1000).flat_map(|id| request(id, b"x")).collect();
    client.write_all(&stream).await.unwrap();
    while started.load(Ordering::Relaxed) < 64 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(started.load(Ordering::Relaxed), 64);
    release.add_permits(1);
    for id in 0..1000 {
        assert_eq!(read_answer(&mut client).await.0, id);
    }
}

/// A file as a disk gives it, in the three ways that there are to send it.
#[derive(Debug)]
enum TestFile {
    Os(std::fs::File),
    Portable(std::fs::File),
    Memory(Bytes),
}

impl DiskFile for TestFile {
    fn write_all_at(&self, _bytes: &[u8], _position: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        match self {
            Self::Os(file) | Self::Portable(file) => std::os::unix::fs::FileExt::read_at(file, buffer, position),
            Self::Memory(_) => Ok(0),
        }
    }
    fn len(&self) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn os_file(&self) -> Option<&std::fs::File> {
        if let Self::Os(file) = self { Some(file) } else { None }
    }
    fn in_memory(&self, position: u64, length: usize) -> Option<Bytes> {
        let Self::Memory(bytes) = self else { return None };
        let start = position as usize;
        Some(bytes.slice(start..(start + length).min(bytes.len())))
    }
}

const FILE_SIZE: usize = 6_000_000;

fn test_files() -> (Vec<u8>, [Arc<TestFile>; 3]) {
    let content: Vec<u8> = (0..FILE_SIZE).map(|byte| (byte % 253) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let portable = TestFile::Portable(file.try_clone().unwrap());
    let memory = TestFile::Memory(Bytes::from(content.clone()));
    (content, [TestFile::Os(file), portable, memory].map(Arc::new))
}

#[tokio::test]
async fn records_are_sent_from_their_file_between_the_fields() {
    let (content, files) = test_files();
    for file in files {
        let what = format!("{file:?}");
        let server = serve(Limits::default(), move |request| {
            let slice = |position, length| Piece::Records(FileSlice { file: file.clone(), position, length });
            let mut head = BytesMut::new();
            head.put_i32(4 + 3 + 5_000_000 + 3 + 10);
            head.put_i32(request.header.correlation_id);
            let pieces = vec![
                Piece::Bytes(head.freeze()),
                Piece::Bytes(Bytes::from_static(b"one")),
                slice(1000, 5_000_000),
                slice(7, 0),
                Piece::Bytes(Bytes::new()),
                Piece::Bytes(Bytes::from_static(b"two")),
                slice(77, 10),
            ];
            Ok(Reply::Now(Response(pieces)))
        });
        let mut client = server.connect().await;
        client.write_all(&[request(1, b""), request(2, b"")].concat()).await.unwrap();
        let expected = [b"one", &content[1000..5_001_000], b"two", &content[77..87]].concat();
        for id in [1, 2] {
            let (correlation_id, body) = read_answer(&mut client).await;
            assert_eq!(correlation_id, id, "{what}");
            assert!(body == expected, "{what}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_shorter_than_promised_closes_the_connection() {
    let (_, files) = test_files();
    for file in files {
        let server = serve(Limits::default(), move |_| {
            let head = Bytes::copy_from_slice(&30_i32.to_be_bytes());
            let slice = FileSlice { file: file.clone(), position: FILE_SIZE as u64 - 20, length: 30 };
            Ok(Reply::Now(Response(vec![Piece::Bytes(head), Piece::Records(slice)])))
        });
        let mut client = server.connect().await;
        client.write_all(&request(1, b"")).await.unwrap();
        assert!(read_end(&mut client).await.len() <= 24);
    }
}

#[tokio::test]
async fn a_length_is_believed_only_as_far_as_bytes_arrive() {
    let shared = Arc::new(Shared::new(Scripted(echo), Limits::default(), 10));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, remote) = listener.accept().await.unwrap();
    let peer = Arc::new(crate::api::Peer { remote, local: remote, listener: "TEST".into() });
    let permit = shared.quota.admit(remote.ip()).unwrap();
    let connection = tokio::spawn(Connection::new(stream, Arc::clone(&shared), peer, permit));

    let mut bytes = (100 * 1024 * 1024_i32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0; 10]);
    client.write_all(&bytes).await.unwrap();
    while shared.memory.used() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(shared.memory.used() <= 8 * bytes.len(), "{}", shared.memory.used());
    client.write_all(&vec![0; 1_000_000]).await.unwrap();
    while shared.memory.used() <= 1_000_000 {
        tokio::task::yield_now().await;
    }
    assert!(shared.memory.used() <= 8_000_000, "{}", shared.memory.used());
    drop(client);
    connection.await.unwrap();
    assert_eq!((shared.memory.used(), shared.registry.len()), (0, 0), "all is given back");
}

#[tokio::test]
async fn frames_larger_than_the_whole_budget_pass_one_by_one() {
    let limits = Limits { queued_max_request_bytes: 1000, ..Limits::default() };
    let server = serve(limits, |request| {
        let length = (request.body.len() as u32).to_be_bytes();
        Ok(Reply::Now(answer_bytes(request.header.correlation_id, &length).into()))
    });
    let mut clients = Vec::new();
    for id in 0..8 {
        // All frames are half received before any can be whole.
        let mut client = server.connect().await;
        client.write_all(&request(id, &vec![1; 600_000])[..300_000]).await.unwrap();
        clients.push(client);
    }
    let answers = clients.into_iter().enumerate().map(|(id, mut client)| {
        tokio::spawn(async move {
            client.write_all(&request(0, &vec![1; 600_000])[300_000..]).await.unwrap();
            assert_eq!(read_answer(&mut client).await, (id as i32, 600_000_u32.to_be_bytes().to_vec()));
        })
    });
    for answer in answers.collect::<Vec<_>>() {
        answer.await.unwrap();
    }
}

#[tokio::test]
async fn a_half_sent_request_does_not_keep_others_from_memory_for_ever() {
    let idle = Some(Duration::from_millis(800));
    let limits = Limits { queued_max_request_bytes: 1000, connections_max_idle: idle, ..Limits::default() };
    let server = serve(limits, echo);
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.write_all(&request(1, &vec![1; 50_000])[..30_000]).await.unwrap();
        stalled.push(client);
    }
    let mut client = server.connect().await;
    client.write_all(&request(9, &vec![1; 50_000])).await.unwrap();
    assert_eq!(read_answer(&mut client).await.0, 9);
}

#[tokio::test]
async fn connections_above_an_address_limit_are_closed_at_once() {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let overrides = HashMap::from([(here, 2)]);
    let limits = Limits { max_connections_per_ip_overrides: overrides, ..Limits::default() };
    let server = serve(limits, echo);
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for client in [&mut first, &mut second] {
        client.write_all(&request(1, b"")).await.unwrap();
        read_answer(client).await;
    }
    assert_eq!(read_end(&mut server.connect().await).await, b"");
    first.shutdown().await.unwrap();
    assert_eq!(read_end(&mut first).await, b"");
    let mut third = server.connect().await;
    third.write_all(&request(2, b"")).await.unwrap();
    assert_eq!(read_answer(&mut third).await.0, 2);
}

#[tokio::test]
async fn with_all_connections_taken_the_next_waits_for_one_to_close() {
    let server = serve(Limits { max_connections: 1, ..Limits::default() }, echo);
    let mut first = server.connect().await;
    first.write_all(&request(1, b"")).await.unwrap();
    read_answer(&mut first).await;
    let mut second = server.connect().await;
    second.write_all(&request(2, b"")).await.unwrap();
    first.write_all(&request(3, b"")).await.unwrap();
    read_answer(&mut first).await;
    let mut early = [0; 1];
    assert_eq!(second.try_read(&mut early).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(first);
    assert_eq!(read_answer(&mut second).await.0, 2);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_that_waits_for_an_answer_is_not() {
    let limits = Limits { connections_max_idle: Some(Duration::from_millis(80)), ..Limits::default() };
    let release = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&release);
    let server = serve(limits, move |request| {
        let (send, receive) = oneshot::channel::<()>();
        *slot.lock() = Some(send);
        Ok(Reply::Later(Box::pin(async move {
            receive.await.unwrap();
            Ok(answer_bytes(request.header.correlation_id, &[]).into())
        })))
    });
    let mut waiting = server.connect().await;
    waiting.write_all(&request(1, b"")).await.unwrap();
    for _ in 0..3 {
        // Each of these is closed after the idle time, so that much has passed for the other as well.
        assert_eq!(read_end(&mut server.connect().await).await, b"");
    }
    release.lock().take().unwrap().send(()).unwrap();
    assert_eq!(read_answer(&mut waiting).await.0, 1);
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight_and_accepts_nothing_more() {
    let (send_waiting, mut waiting) = mpsc::channel(1);
    let mut server = serve(Limits::default(), move |request| {
        let (send, receive) = oneshot::channel::<()>();
        send_waiting.try_send(send).unwrap();
        Ok(Reply::Later(Box::pin(async move {
            receive.await.unwrap();
            Ok(answer_bytes(request.header.correlation_id, b"done").into())
        })))
    });
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    busy.write_all(&request(1, b"")).await.unwrap();
    let finish = waiting.recv().await.unwrap();
    server.stop();
    assert_eq!(read_end(&mut idle).await, b"", "an idle connection is closed at once");
    finish.send(()).unwrap();
    assert_eq!(read_answer(&mut busy).await, (1, b"done".to_vec()));
    assert_eq!(read_end(&mut busy).await, b"");
    server.ended.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let started = Arc::new(tokio::sync::Notify::new());
    let notify = Arc::clone(&started);
    let mut server = serve_with_drain(Limits::default(), Duration::from_millis(50), move |_| {
        notify.notify_one();
        Ok(Reply::Later(Box::pin(std::future::pending())))
    });
    let mut client = server.connect().await;
    client.write_all(&request(1, b"")).await.unwrap();
    started.notified().await;
    server.stop();
    server.ended.await.unwrap();
    assert_eq!(read_end(&mut client).await, b"");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_in_the_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listeners = vec![ListenerConfig::new("PLAINTEXT", "127.0.0.1", port)];
    let error = Server::bind(ServerConfig { listeners, limits: Limits::default() }).unwrap_err().to_string();
    assert!(error.starts_with(&format!("listeners=PLAINTEXT://127.0.0.1:{port} cannot be bound")), "{error}");
    assert!(error.contains("choose another port"), "{error}");
}

#[tokio::test]
async fn every_listener_tells_its_name_and_the_address_that_was_dialled() {
    let listeners = vec![ListenerConfig::new("ONE", "localhost", 0), ListenerConfig::new("ALL", "", 0)];
    let server = Server::bind(ServerConfig { listeners, limits: Limits::default() }).unwrap();
    let addresses: Vec<(String, SocketAddr)> =
        server.addresses().map(|(name, address)| (name.to_owned(), address)).collect();
    let handler = |request: Request| {
        let text = format!("{} {} {}", request.peer.listener, request.peer.local, request.peer.remote.ip());
        Ok(Reply::Now(answer_bytes(1, text.as_bytes()).into()))
    };
    tokio::spawn(server.run(Scripted(handler), std::future::pending(), DRAIN));
    for (name, address) in addresses {
        let mut client = TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
        client.write_all(&request(1, b"")).await.unwrap();
        let (_, answer) = read_answer(&mut client).await;
        let expected = format!("{name} 127.0.0.1:{} 127.0.0.1", address.port());
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }
}

#[test]
fn an_idle_connection_is_small() {
    // The whole task; with the socket's registration and the registry's entry it has to stay below 4 KB.
    let size = size_of::<Connection<Scripted<fn(Request) -> Result<Reply, Refused>>>>();
    assert!(size <= 512, "{size}");
}

#[tokio::test]
async fn a_parked_request_holds_no_more_than_it_says() {
    let limits = Limits { queued_max_request_bytes: 100_000, ..Limits::default() };
    let server = serve(limits, |request| match request.header.correlation_id {
        1 => Ok(Reply::Parked(Box::pin(std::future::pending()), 16)),
        _ => echo(request),
    });
    let mut parked = server.connect().await;
    parked.write_all(&request(1, &vec![0; 150_000])).await.unwrap();
    let mut other = server.connect().await;
    for correlation_id in 2..5 {
        other.write_all(&request(correlation_id, b"served")).await.unwrap();
        assert_eq!(read_answer(&mut other).await, (correlation_id, b"served".to_vec()));
    }
}

#[tokio::test]
async fn a_client_that_is_gone_is_not_waited_for() {
    let limits =
        Limits { connections_max_idle: Some(Duration::from_millis(80)), max_connections: 1, ..Limits::default() };
    let server = serve(limits, |request| match request.header.correlation_id {
        1 => Ok(Reply::Parked(Box::pin(std::future::pending()), 16)),
        _ => echo(request),
    });
    let mut gone = server.connect().await;
    gone.write_all(&request(1, b"")).await.unwrap();
    drop(gone);
    // There is room for one connection: this one is served when the other was closed.
    let mut next = server.connect().await;
    next.write_all(&request(2, b"served")).await.unwrap();
    assert_eq!(read_answer(&mut next).await, (2, b"served".to_vec()));
}
