//! `close` returned, and opening again in the same process was refused as long as a session lived: the directory was
//! "held by pid" of that very process.
#![cfg(unix)]

use neurograph::{Config, CreateError, Store, Token};

#[test]
fn a_closed_store_is_opened_again_while_its_sessions_live() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.blackbox.panic_hook = false;
    let token = Token::builder().timestamp(7).build().unwrap();
    let store = Store::open(dir.path(), config.clone()).unwrap();
    let mut old = store.session();
    let id = old.create(&token).unwrap();
    assert!(Store::open(dir.path(), config.clone()).is_err(), "it is open");
    store.close().unwrap();
    for round in 0..3 {
        let store = Store::open(dir.path(), config.clone()).unwrap();
        assert!(store.recovery().clean, "round {round}");
        assert_eq!(store.stats().blackbox_error, None, "the recorder's directory is free too");
        assert_eq!(store.session().get(id), Some(token));
        assert_eq!(old.get(id), Some(token), "a read of the old session goes on from its memory");
        assert!(matches!(old.create(&token), Err(CreateError::Closed)));
        store.close().unwrap();
    }
    drop(old);
    assert_eq!(Store::open(dir.path(), config).unwrap().len(), 1);
}
