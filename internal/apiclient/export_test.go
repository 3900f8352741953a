package apiclient

import "adsync/internal/ads"

// Kill makes the client send nothing any more, as when every token is refused to it.
func (c *Client) Kill() { _ = c.kill(&ads.Error{Class: ads.ClassAuth, Code: "killed"}) }

// Known counts the credentials that are kept.
func (s *Shared) Known() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.credentials)
}
