"""What tests share: reference readers, reference writers, and the comparison of rows."""
