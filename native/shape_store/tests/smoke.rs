use shape_store::*;
use std::sync::mpsc;
fn open(o: Options) -> (Store, mpsc::Receiver<Event>) {
    let (tx, rx) = mpsc::channel();
    let s = Store::open(
        o,
        Box::new(move |e| {
            println!("{e:?}");
            let _ = tx.send(e);
        }),
        Box::new(|_| Err("no".into())),
    )
    .unwrap();
    match rx.recv().unwrap() {
        Event::Opened { .. } => {}
        e => panic!("{e:?}"),
    }
    (s, rx)
}
#[test]
fn smoke() {
    let d = tempfile::tempdir().unwrap();
    let o = Options::new(Location::File(d.path().join("a/b.sqlite")));
    for round in 0..3u32 {
        let (s, rx) = open(o.clone());
        assert_eq!(s.count(), round as usize * 1000);
        for i in 0..1000u32 {
            let n = round * 1000 + i;
            s.add(
                NewShape {
                    handle: format!("h{n}").as_bytes(),
                    digest: Digest::of(&n.to_le_bytes()),
                    hash: n,
                    oids: &[n % 7, 9000],
                    body: &[7; 1000],
                },
                Request::default(),
            )
            .unwrap();
        }
        let (tx, done) = mpsc::channel();
        if let Waiting::Until(_) = s.wait(s.last(), Box::new(move |o| tx.send(o).unwrap())) {
            assert_eq!(done.recv().unwrap(), Outcome::Durable);
        }
        assert_eq!(s.read_bodies(&[1]).unwrap()[0].as_deref(), Some(&[7u8; 1000][..]));
        println!("{:?}", s.statistics());
        s.close();
        loop {
            if let Event::Closed { .. } = rx.recv().unwrap() {
                break;
            }
        }
    }
}
